import type { Migration } from '../migration.ts'

/** Who is refused until when. */
export const revocations: Migration = {
  version: 5,
  name: 'revocations',
  sql: `
-- Nodes read what changed every few seconds. One that was taken back stays for a while with its time over.
CREATE TABLE livemessage.revocations (
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'token')),
  -- A user's id, or a token's jti
  name text COLLATE "C" NOT NULL,
  -- Whose user it is; empty: of the home database
  database text COLLATE "C" NOT NULL DEFAULT '',
  -- Tokens that were issued until then are refused, by the clock of the node that was told.
  at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  reason text,
  changed timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (kind, name, database)
);

CREATE INDEX revocations_changed ON livemessage.revocations (changed);

REVOKE ALL ON TABLE livemessage.revocations FROM PUBLIC;
`,
}
