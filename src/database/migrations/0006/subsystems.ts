import { publicationsOf } from './rows.ts'

/** The tables, and what a database is told: who it is, and which subsystems run per database. */
export const SUBSYSTEMS = `
ALTER TABLE livemessage.meta
  -- As the config has it; null: nobody has told yet.
  ADD COLUMN name text,
  -- The journal is another database's.
  ADD COLUMN outbox boolean NOT NULL DEFAULT false;

ALTER TABLE livemessage.subsystem
  -- Its channels are <subsystem>:<database>:<rest>.
  ADD COLUMN per_database boolean NOT NULL DEFAULT false;

CREATE TABLE livemessage.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Null for publish_many, whose data has all, as {"channels":[…],"datas":[…]}.
  channel text COLLATE "C",
  data text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);

-- The batch that is on its way: fixed before it is sent, so that whoever finishes it sends the same.
CREATE TABLE livemessage.outbox_batch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  batch uuid NOT NULL,
  ids bigint[] NOT NULL
);

-- At home: the batch of each database that came last. It stands there if and only if its rows are in the journal.
CREATE TABLE livemessage.moved (
  database text COLLATE "C" PRIMARY KEY,
  batch uuid NOT NULL,
  time timestamptz NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION livemessage.copy_meta() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  IF TG_TABLE_NAME = 'meta' THEN
    UPDATE livemessage.subsystem SET name = name;
  ELSE
    SELECT CASE WHEN m.outbox OR NEW.per_database THEN -1 ELSE coalesce(NEW.max_bytes, m.max_bytes) END, m.notify_data
    INTO NEW.most_bytes, NEW.notify_data FROM livemessage.meta AS m;
  END IF;
  RETURN NEW;
END
$fn$;

DROP TRIGGER copy_meta ON livemessage.meta;
CREATE TRIGGER copy_meta AFTER UPDATE OF max_bytes, notify_data, outbox ON livemessage.meta
  FOR EACH ROW EXECUTE FUNCTION livemessage.copy_meta();

-- {"chat": {"journaled": true, "max_bytes": 1048576, "per_database": false}, …}: the subsystems of a daemon's config.
CREATE OR REPLACE FUNCTION livemessage.set_subsystems(subsystems jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  -- Their copies of meta are taken from a row that does not change meanwhile.
  PERFORM FROM livemessage.meta FOR SHARE;
  INSERT INTO livemessage.subsystem AS s (name, journaled, max_bytes, per_database)
  SELECT n.key, coalesce((n.value ->> 'journaled')::boolean, true), (n.value ->> 'max_bytes')::int,
    coalesce((n.value ->> 'per_database')::boolean, false)
  FROM jsonb_each(subsystems) AS n ORDER BY 1
  ON CONFLICT (name) DO UPDATE SET journaled = excluded.journaled, max_bytes = excluded.max_bytes,
    per_database = excluded.per_database, updated = now();
  -- Not at once: while nodes are upgraded one by one, the others may still have it.
  DELETE FROM livemessage.subsystem AS s WHERE NOT subsystems ? s.name AND s.updated < now() - interval '1 day';
END
$fn$;

-- Who this database is. Nothing is written where it knows: every node tells it, again and again. What was enqueued before
-- it knew that it has an outbox goes there: nobody drains its queue. And back, where it has become home: a batch that was
-- on its way to another journal then comes into this one, too.
CREATE FUNCTION livemessage.set_database(name text, outbox boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  UPDATE livemessage.meta AS m SET name = set_database.name, outbox = set_database.outbox
  WHERE m.name IS DISTINCT FROM set_database.name OR m.outbox <> set_database.outbox;
  IF set_database.outbox THEN
    WITH queued AS (DELETE FROM livemessage.queue RETURNING id, channel, data)
    INSERT INTO livemessage.outbox (channel, data) SELECT q.channel, q.data FROM queued AS q ORDER BY q.id;
  ELSE
    WITH waiting AS (DELETE FROM livemessage.outbox RETURNING id, channel, data)
    INSERT INTO livemessage.queue (channel, data)
    SELECT one.channel, one.data
    FROM waiting AS w
    CROSS JOIN LATERAL ${publicationsOf('w')} AS one
    ORDER BY w.id, one.n;
    DELETE FROM livemessage.outbox_batch;
  END IF;
END
$fn$;

REVOKE ALL ON livemessage.outbox, livemessage.outbox_batch, livemessage.moved FROM PUBLIC;
REVOKE ALL ON FUNCTION livemessage.set_database(text, boolean) FROM PUBLIC;
`
