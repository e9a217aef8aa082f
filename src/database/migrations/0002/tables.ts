/** The tables, and what keeps `subsystem` in step with `meta`. */
export const TABLES = `
CREATE TABLE livemessage.meta (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch text NOT NULL,
  minted timestamptz NOT NULL DEFAULT now(),
  reason text,
  system_identifier text,
  timeline int,
  postmaster timestamptz,
  folder text,
  -- The oldest schema version whose daemons can work with this schema.
  compatible_since int NOT NULL,
  -- false: NOTIFY carries positions only, and nodes read the rest.
  notify_data boolean NOT NULL DEFAULT true,
  -- The largest publication by SQL, in bytes of JSON, where its subsystem does not say.
  max_bytes int NOT NULL DEFAULT 1048576
);

CREATE SEQUENCE livemessage.positions;

-- Only ever inserted into; retention deletes.
CREATE TABLE livemessage.journal (
  position bigint PRIMARY KEY,
  channel text COLLATE "C" NOT NULL,
  time bigint NOT NULL,
  -- Random; of publish one a row, else one for all that are placed together: tells whether what was seen at a position is
  -- what stands there now.
  tag bigint NOT NULL,
  data text NOT NULL,
  exclude text,
  mark text
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE INDEX journal_channel ON livemessage.journal (channel, position);

-- Of this subsystem everything at or below may have been deleted. The row '' is of the subsystems that no daemon names.
CREATE TABLE livemessage.floor (
  subsystem text COLLATE "C" PRIMARY KEY,
  position bigint NOT NULL
);

CREATE TABLE livemessage.subsystem (
  name text COLLATE "C" PRIMARY KEY,
  journaled boolean NOT NULL,
  max_bytes int,
  updated timestamptz NOT NULL DEFAULT now(),
  -- From meta, so that publish reads one row of one table.
  most_bytes int NOT NULL,
  notify_data boolean NOT NULL
);

-- What is published, until its transaction commits. The rows are garbage afterwards: nobody reads them. Unlogged:
-- what a crash leaves of them was never committed, or is in the journal.
CREATE UNLOGGED TABLE livemessage.pending (
  -- How often it has stepped back behind the application's deferred constraints.
  step smallint NOT NULL DEFAULT 0,
  -- Null for publish_many, whose data has all, as {"channels":[…],"datas":[…],"bodies":[…],"counts":[…]}.
  channel text,
  data text NOT NULL,
  notify_data boolean NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 10);

-- Only ever inserted into: a key that is over does not stand in the way of the next.
CREATE TABLE livemessage.key (
  scope text COLLATE "C" NOT NULL,
  channel text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  digest text,
  epoch text NOT NULL,
  time bigint NOT NULL,
  until bigint NOT NULL,
  PRIMARY KEY (scope, channel, position)
);

CREATE INDEX key_until ON livemessage.key (until);

CREATE TABLE livemessage.mailbox (
  user_id text COLLATE "C" NOT NULL,
  channel text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, channel)
);

CREATE INDEX mailbox_age ON livemessage.mailbox (split_part(channel, ':', 1), time);

CREATE TABLE livemessage.lease (
  name text COLLATE "C" PRIMARY KEY,
  holder text NOT NULL,
  token bigint NOT NULL,
  until timestamptz NOT NULL,
  -- Makes the token a key: who takes over waits for those who act under the lease, who renews it does not.
  UNIQUE (name, token)
);

CREATE TABLE livemessage.queue (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  channel text COLLATE "C" NOT NULL,
  data text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);

CREATE TABLE livemessage.dead (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  time timestamptz NOT NULL DEFAULT now(),
  source text NOT NULL,
  name text,
  channel text,
  subsystem text,
  code text NOT NULL,
  reason text NOT NULL,
  attempts int NOT NULL DEFAULT 0,
  body text,
  body_base64 boolean NOT NULL DEFAULT false,
  headers jsonb,
  database text
);

-- A crash empties the table; its numbers go on all the same, so that no letter is taken for another.
CREATE SEQUENCE livemessage.letters;
CREATE UNLOGGED TABLE livemessage.letter (
  id bigint PRIMARY KEY DEFAULT nextval('livemessage.letters'),
  time timestamptz NOT NULL DEFAULT now(),
  body text NOT NULL
);

CREATE FUNCTION livemessage.copy_meta() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  IF TG_TABLE_NAME = 'meta' THEN
    UPDATE livemessage.subsystem SET name = name;
  ELSE
    SELECT coalesce(NEW.max_bytes, m.max_bytes), m.notify_data INTO NEW.most_bytes, NEW.notify_data FROM livemessage.meta AS m;
  END IF;
  RETURN NEW;
END
$fn$;

CREATE TRIGGER copy_meta BEFORE INSERT OR UPDATE ON livemessage.subsystem
  FOR EACH ROW EXECUTE FUNCTION livemessage.copy_meta();
CREATE TRIGGER copy_meta AFTER UPDATE OF max_bytes, notify_data ON livemessage.meta
  FOR EACH ROW EXECUTE FUNCTION livemessage.copy_meta();
`
