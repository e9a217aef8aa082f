import type { Migration } from '../migration.ts'

/** Dead letters: each once, with all that its replay needs, and never more than there is room for. */
export const dead: Migration = {
  version: 3,
  name: 'dead letters',
  sql: `
ALTER TABLE livemessage.dead
  -- Given when the letter was made: it is kept once, however often it arrives. Null where nobody gave one.
  ADD COLUMN letter text COLLATE "C" UNIQUE,
  -- Of a message: exchange, messageId, contentType and others
  ADD COLUMN properties jsonb,
  -- Since when it is in this table; its time is when it died.
  ADD COLUMN kept timestamptz NOT NULL DEFAULT now();

-- Deletes the oldest letters: those older than max_age_ms, beyond the newest max_letters, or beyond the newest max_bytes
-- of bodies; max_rows of them at most. Returns how many. Any node may call it, several at once do no harm.
CREATE FUNCTION livemessage.sweep_dead(max_age_ms bigint, max_letters int, max_bytes bigint, max_rows int) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  low bigint;
  gone int;
BEGIN
  low := (SELECT d.id FROM livemessage.dead AS d ORDER BY d.id DESC OFFSET max_letters LIMIT 1);
  low := greatest(low, (
    SELECT max(one.id)
    FROM (
      SELECT d.id, d.kept, row_number() OVER newest AS n, sum(octet_length(d.body)) OVER newest AS bytes
      FROM livemessage.dead AS d
      WHERE d.id > coalesce(low, 0)
      WINDOW newest AS (ORDER BY d.id DESC)
    ) AS one
    WHERE one.kept < now() - max_age_ms * interval '1 millisecond' OR (one.n > 1 AND one.bytes > max_bytes)
  ));
  DELETE FROM livemessage.dead WHERE id IN (
    SELECT d.id FROM livemessage.dead AS d WHERE d.id <= low ORDER BY d.id LIMIT max_rows FOR UPDATE SKIP LOCKED
  );
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END
$fn$;

REVOKE ALL ON FUNCTION livemessage.sweep_dead(bigint, int, bigint, int) FROM PUBLIC;
`,
}
