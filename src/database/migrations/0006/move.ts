import { DRAIN_BYTES, POSITION_LOCK } from '../0002/names.ts'
import { publicationsOf } from './rows.ts'

/** The advisory lock under which a batch is taken. Any number would do: the one after the position lock's. */
export const OUTBOX_LOCK = '7811887443163341673'

/** How a batch leaves the outbox, and how it comes home. */
export const MOVE = `
-- The batch that is to be moved, and its rows in order; no row where nothing is. "done" is one that is home: its rows go
-- first. One that was taken before is given again, the same rows under the same name: what of it came home is known there.
-- In the order of the ids and not by the highest one that was seen: transactions commit out of order. Where nothing is,
-- waits for it as drain does.
CREATE FUNCTION livemessage.outbox_take(
  done uuid, max int, wait_ms int DEFAULT 0, every_ms int DEFAULT 10, OUT batch uuid, OUT channels text[], OUT datas text[]
) RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $fn$
DECLARE
  taken bigint[];
  last timestamptz := clock_timestamp() + wait_ms * interval '1 millisecond';
  looked timestamptz;
BEGIN
  -- Under REPEATABLE READ it would wait for ever for what it can't see.
  PERFORM livemessage.check_lease(NULL, NULL);
  -- What home is told must not be forgotten here by a crash.
  IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
  LOOP
    EXIT WHEN done IS NOT NULL OR EXISTS (SELECT FROM livemessage.outbox_batch);
    looked := clock_timestamp();
    -- In the order of the index, and not EXISTS, which would read the table from its beginning.
    EXIT WHEN (SELECT o.id FROM livemessage.outbox AS o ORDER BY o.id LIMIT 1) IS NOT NULL;
    IF looked >= last THEN RETURN; END IF;
    PERFORM pg_sleep(greatest(every_ms / 1000.0, 4 * extract(epoch FROM clock_timestamp() - looked)::float8));
  END LOOP;
  -- A leader whose term is over may still be at it: the later one sees what it has taken.
  PERFORM pg_advisory_xact_lock(${OUTBOX_LOCK});
  SELECT b.batch, b.ids INTO batch, taken FROM livemessage.outbox_batch AS b;
  IF batch = done THEN
    DELETE FROM livemessage.outbox AS o WHERE o.id = ANY (taken);
    DELETE FROM livemessage.outbox_batch;
    batch := NULL;
  END IF;
  IF batch IS NULL THEN
    taken := ARRAY(
      SELECT upto.id
      FROM (
        SELECT q.id, sum(q.bytes) OVER (ORDER BY q.id) - q.bytes AS before
        FROM (SELECT o.id, octet_length(o.data) AS bytes FROM livemessage.outbox AS o ORDER BY o.id LIMIT max) AS q
      ) AS upto
      WHERE upto.before < ${DRAIN_BYTES}
    );
    IF taken = '{}' THEN RETURN; END IF;
    batch := gen_random_uuid();
    INSERT INTO livemessage.outbox_batch (batch, ids) VALUES (outbox_take.batch, taken);
  END IF;
  SELECT array_agg(one.channel ORDER BY o.id, one.n), array_agg(one.data ORDER BY o.id, one.n) INTO channels, datas
  FROM livemessage.outbox AS o
  CROSS JOIN LATERAL ${publicationsOf('o')} AS one
  WHERE o.id = ANY (taken);
  RETURN NEXT;
END
$fn$;

-- At home: appends a batch, once. Returns how many publications came, 0 for a batch that is here already. One transaction:
-- the batch is known here if and only if its publications are in the journal.
CREATE FUNCTION livemessage.outbox_append(
  database text, batch uuid, channels text[], datas text[], lease text, token bigint
) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $fn$
DECLARE
  packed record;
  tag bigint := random() * 9007199254740991;
  notify_data boolean;
BEGIN
  PERFORM livemessage.check_lease(lease, token);
  -- The rows are deleted where they come from: here they must not be forgotten by a crash.
  IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
  -- Before the position lock, under which nothing waits for a row.
  INSERT INTO livemessage.moved AS m (database, batch) VALUES (outbox_append.database, outbox_append.batch)
  ON CONFLICT ON CONSTRAINT moved_pkey DO UPDATE SET batch = excluded.batch, time = now() WHERE m.batch <> excluded.batch;
  IF NOT FOUND THEN RETURN 0; END IF;
  packed := livemessage.pack(channels, datas);
  notify_data := m.notify_data FROM livemessage.meta AS m;
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  PERFORM livemessage.place_all(livemessage.now_ms(), tag, channels, datas, NULL, NULL, notify_data, packed.bodies, packed.counts);
  RETURN cardinality(channels);
END
$fn$;

REVOKE ALL ON FUNCTION livemessage.outbox_take(uuid, int, int, int), livemessage.outbox_append(text, uuid, text[], text[], text, bigint)
  FROM PUBLIC;
`
