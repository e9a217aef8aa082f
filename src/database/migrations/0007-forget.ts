import type { Migration } from '../migration.ts'
import { OUTBOX_LOCK } from './0006/move.ts'
import { JOURNAL_NOTIFY, POSITION_LOCK } from './0002/names.ts'

/**
 * Forgetting. A publication's row loses its channel, data and session, and keeps its position and tag: a node that had
 * delivered it, or stood at it, sees that the journal is still the one that it knows. Which were forgotten stands in an
 * entry of its own, a tombstone: it has the next position, and every node that follows the journal reads it in its
 * place. Both are rows of no channel; retention deletes them.
 */
export const forget: Migration = {
  version: 7,
  name: 'forget',
  sql: `
-- Older daemons would hand on what has no channel.
UPDATE livemessage.meta SET compatible_since = greatest(compatible_since, 7);

-- Forgets max_rows publications of a channel at most: those at some positions, or the oldest that it has after "after",
-- up to "until" (null: up to the newest there is now). "place" is where the tombstone stands; null where there was nothing.
-- Nobody waits for the rows' sake: the position lock is taken last, and held for one insert and the commit. Rows are
-- locked before it, in the order of their positions.
CREATE FUNCTION livemessage.forget_some(
  channel text, positions bigint[], after bigint, INOUT until bigint, max_rows int, expected_epoch text,
  OUT forgotten int, OUT upto bigint, OUT place bigint, OUT more boolean
) RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off -- as in append: a plan may be older than the table is large
AS $fn$
DECLARE
  places bigint[];
  at bigint := livemessage.now_ms();
  tag bigint := random() * 9007199254740991;
BEGIN
  PERFORM livemessage.check_lease(NULL, NULL);
  IF positions IS NOT NULL AND (SELECT m.epoch FROM livemessage.meta AS m) <> expected_epoch THEN
    RAISE EXCEPTION 'livemessage: positions have started anew' USING ERRCODE = 'LM002';
  END IF;
  -- Who sees a position sees all that are below it: the next statement, too.
  until := coalesce(until, (SELECT j.position FROM livemessage.journal AS j ORDER BY j.position DESC LIMIT 1), 0);
  IF positions IS NULL THEN
    places := ARRAY(
      SELECT j.position FROM livemessage.journal AS j
      WHERE j.channel = forget_some.channel AND j.position > after AND j.position <= until
      ORDER BY j.position LIMIT max_rows FOR UPDATE
    );
  ELSE
    places := ARRAY(
      SELECT j.position FROM livemessage.journal AS j
      WHERE j.position = ANY (positions) AND j.channel = forget_some.channel
      ORDER BY j.position FOR UPDATE
    );
  END IF;
  forgotten := cardinality(places);
  upto := coalesce(places[forgotten], until);
  -- Not by the number that was found: who forgets the same at once may have had some of them.
  more := positions IS NULL AND EXISTS (
    SELECT FROM livemessage.journal AS j
    WHERE j.channel = forget_some.channel AND j.position > upto AND j.position <= until
  );
  IF forgotten = 0 THEN RETURN; END IF;
  UPDATE livemessage.journal AS j SET channel = '', data = '', exclude = NULL,
    -- A node that heard the notification may still have to learn that it was journaled.
    mark = CASE WHEN j.time > at - 60000 THEN j.mark END
  WHERE j.position = ANY (places);
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  place := nextval('livemessage.positions');
  at := livemessage.now_ms();
  INSERT INTO livemessage.journal (position, channel, time, tag, data)
  VALUES (place, '', at, tag, CASE
    WHEN positions IS NULL THEN json_build_object('channel', channel, 'upTo', upto, 'more', more)
    ELSE json_build_object('channel', channel, 'positions', places) END);
  -- Without its data, even where the others carry theirs: nodes read it from the table, and believe nobody else.
  PERFORM pg_notify('${JOURNAL_NOTIFY}', place || ' 1 ' || at || ' ' || tag || E'\\n');
END
$fn$;

-- Rows in their order, as above and in forget_queued, or there could be deadlocks: a bitmap has them in the table's order.
ALTER FUNCTION livemessage.sweep(jsonb, int, text, bigint, boolean) SET enable_bitmapscan = off;
ALTER FUNCTION livemessage.drain(int, text, bigint, int, int) SET enable_bitmapscan = off;

-- What is not in the journal yet: enqueued publications of a channel. Before forget_some, for what is being moved is in
-- the journal when this returns.
CREATE FUNCTION livemessage.forget_queued(channel text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  gone bigint;
BEGIN
  DELETE FROM livemessage.queue AS q WHERE q.id = ANY (ARRAY(
    SELECT o.id FROM livemessage.queue AS o WHERE o.channel = forget_queued.channel ORDER BY o.id FOR UPDATE
  ));
  GET DIAGNOSTICS gone = ROW_COUNT;
  RETURN gone;
END
$fn$;

-- The traces that publications leave outside of the journal: what they were when they were published (garbage since, of
-- all channels), and what their idempotency keys know of their data. A key stays until its time is over, or who publishes
-- again what was forgotten would bring it back.
CREATE FUNCTION livemessage.forget_traces(channel text, positions bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  -- What can be seen here was placed when it was committed.
  DELETE FROM livemessage.pending WHERE ctid = ANY (ARRAY(
    SELECT p.ctid FROM livemessage.pending AS p FOR UPDATE SKIP LOCKED
  ));
  -- Not those that the sweep is deleting: waiting for it, which may wait for these, could be a deadlock.
  UPDATE livemessage.key SET digest = NULL WHERE ctid = ANY (ARRAY(
    SELECT k.ctid FROM livemessage.key AS k
    WHERE k.channel = forget_traces.channel AND k.digest IS NOT NULL
      AND (positions IS NULL OR k.position = ANY (positions))
    FOR UPDATE SKIP LOCKED
  ));
END
$fn$;

-- What waits in this database's outbox, of these channels. "batch" is the one that is on its way with some of them: null
-- where none is. Only outbox_take and this take rows away, one after the other.
CREATE FUNCTION livemessage.forget_outbox(channels text[], OUT gone bigint, OUT batch uuid) RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  taken bigint[];
  parts bigint;
BEGIN
  PERFORM livemessage.check_lease(NULL, NULL);
  PERFORM pg_advisory_xact_lock(${OUTBOX_LOCK});
  SELECT b.batch, b.ids INTO batch, taken FROM livemessage.outbox_batch AS b;
  taken := coalesce(taken, '{}');
  IF NOT EXISTS (
    SELECT FROM livemessage.outbox AS o
    WHERE o.id = ANY (taken) AND (o.channel = ANY (channels) OR o.channel IS NULL AND EXISTS (
      SELECT FROM json_array_elements_text(o.data::json -> 'channels') AS m(channel) WHERE m.channel = ANY (channels)))
  ) THEN
    batch := NULL;
  END IF;
  DELETE FROM livemessage.outbox AS o WHERE o.channel = ANY (channels) AND o.id <> ALL (taken);
  GET DIAGNOSTICS gone = ROW_COUNT;
  WITH left_over AS (
    SELECT o.id, count(*) FILTER (WHERE m.channel = ANY (channels)) AS gone,
      json_build_object(
        'channels', coalesce(json_agg(m.channel ORDER BY m.n) FILTER (WHERE m.channel <> ALL (channels)), '[]'),
        'datas', coalesce(json_agg(m.data ORDER BY m.n) FILTER (WHERE m.channel <> ALL (channels)), '[]')
      ) AS data
    FROM livemessage.outbox AS o
    CROSS JOIN LATERAL ROWS FROM (
      json_array_elements_text(o.data::json -> 'channels'), json_array_elements_text(o.data::json -> 'datas')
    ) WITH ORDINALITY AS m(channel, data, n)
    WHERE o.channel IS NULL AND o.id <> ALL (taken)
    GROUP BY o.id
  ), changed AS (
    UPDATE livemessage.outbox AS o SET data = l.data FROM left_over AS l WHERE o.id = l.id AND l.gone > 0
    RETURNING l.gone
  )
  SELECT sum(c.gone) INTO parts FROM changed AS c;
  gone := gone + coalesce(parts, 0);
END
$fn$;

REVOKE ALL ON FUNCTION livemessage.forget_some(text, bigint[], bigint, bigint, int, text),
  livemessage.forget_queued(text), livemessage.forget_traces(text, bigint[]), livemessage.forget_outbox(text[]) FROM PUBLIC;
`,
}
