import { DRAIN_BYTES, POSITION_LOCK } from './names.ts'

/** What nodes call to append: leases, `append`, `drain`. */
export const APPEND = `
CREATE FUNCTION livemessage.check_lease(lease text, token bigint) RETURNS void
LANGUAGE plpgsql
AS $fn$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'livemessage: called in %, works in READ COMMITTED only', upper(current_setting('transaction_isolation')) USING
      ERRCODE = 'invalid_transaction_state',
      HINT = 'ALTER ROLE … SET default_transaction_isolation = ''read committed'' for the daemon''s role.';
  END IF;
  IF lease IS NOT NULL THEN
    -- Before the position lock: nothing waits for a row while it is held. Not FOR SHARE: renewals would wait for it,
    -- in vain where two connections act under the lease without a pause.
    PERFORM FROM livemessage.lease AS l
    WHERE l.name = check_lease.lease AND l.token = check_lease.token AND l.until > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'livemessage: the lease % is another''s, or over', lease USING ERRCODE = 'LM001';
    END IF;
  END IF;
END
$fn$;

CREATE FUNCTION livemessage.append(
  since bigint, tag bigint, channels text[], datas text[], excludes text[], marks text[], keys text[],
  digests text[], bodies text[], counts int[], lease text, token bigint, key_window_ms bigint,
  OUT first bigint, OUT at bigint, OUT duplicates jsonb
) RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Its plans are kept by the session, and made while the tables are still small: whatever they are estimated at, each
-- read here is of some rows by their index, for everybody waits meanwhile.
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $fn$
DECLARE
  keyed boolean := array_remove(keys, NULL) <> '{}';
  meta record;
BEGIN
  PERFORM livemessage.check_lease(lease, token);
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  IF since IS NOT NULL THEN
    SELECT j.position, j.time INTO first, at FROM livemessage.journal AS j
    WHERE j.position > since AND j.tag = append.tag ORDER BY j.position LIMIT 1;
    IF FOUND THEN
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  at := livemessage.now_ms();
  IF keyed THEN
    duplicates := (
      SELECT jsonb_agg(jsonb_build_object('n', d.n, 'position', k.position, 'digest', k.digest, 'epoch', k.epoch) ORDER BY d.n)
      FROM unnest(channels, keys) WITH ORDINALITY AS d(channel, key, n)
      JOIN livemessage.key AS k ON k.scope = d.key AND k.channel = d.channel AND k.until > at
    );
    IF duplicates IS NOT NULL THEN
      at := NULL;
      RETURN NEXT;
      RETURN;
    END IF;
  END IF;
  SELECT m.notify_data, m.epoch INTO meta FROM livemessage.meta AS m;
  first := livemessage.place_all(at, tag, channels, datas, excludes, marks, meta.notify_data, bodies, counts);
  IF keyed THEN
    INSERT INTO livemessage.key (scope, channel, position, digest, epoch, time, until)
    SELECT d.key, d.channel, first + d.n - 1, d.digest, meta.epoch, at, at + key_window_ms
    FROM unnest(channels, keys, digests) WITH ORDINALITY AS d(channel, key, digest, n)
    WHERE d.key IS NOT NULL;
  END IF;
  RETURN NEXT;
END
$fn$;

CREATE FUNCTION livemessage.lease_take(name text, holder text, ttl_ms int) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  ttl interval := ttl_ms * interval '1 millisecond';
  -- Tokens go up, and their lower 20 bits are random: after a crash that forgot the last takeover the next one has
  -- another token. There is room for 8,000,000,000 of them below 2^53.
  chance bigint := floor(random() * 1048576);
  held bigint;
BEGIN
  UPDATE livemessage.lease AS l SET until = clock_timestamp() + ttl
  WHERE l.name = lease_take.name AND l.holder = lease_take.holder AND l.until > clock_timestamp()
  RETURNING l.token INTO held;
  IF FOUND THEN RETURN held; END IF;
  -- A new token for its last holder, too: what it left under way must not come behind what it does next.
  INSERT INTO livemessage.lease AS l (name, holder, token, until)
  SELECT lease_take.name, lease_take.holder, 1048576 + chance, clock_timestamp() + ttl
  WHERE NOT EXISTS (SELECT FROM livemessage.lease AS o WHERE o.name = lease_take.name AND o.until > clock_timestamp())
  ON CONFLICT ON CONSTRAINT lease_pkey DO UPDATE SET
    holder = excluded.holder,
    token = (l.token / 1048576 + 1) * 1048576 + chance,
    -- Not excluded.until: there may have been a wait for the row.
    until = clock_timestamp() + ttl
  WHERE l.until <= clock_timestamp()
  RETURNING l.token INTO held;
  RETURN held;
END
$fn$;

CREATE FUNCTION livemessage.lease_give(name text, token bigint) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $fn$
  UPDATE livemessage.lease AS l SET holder = '', until = '-infinity'
  WHERE l.name = lease_give.name AND l.token = lease_give.token
$fn$;

-- Moves what is enqueued, max rows or about 1 MiB at once: returns how many. Where nothing is, waits for it: each look
-- from afar would cost two processes more than the look itself. It is done less often where it is dear (dead rows that an
-- old snapshot keeps).
CREATE FUNCTION livemessage.drain(max int, lease text, token bigint, wait_ms int DEFAULT 0, every_ms int DEFAULT 20) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $fn$
DECLARE
  channels text[];
  datas text[];
  packed record;
  tag bigint := random() * 9007199254740991;
  notify_data boolean;
  last timestamptz := clock_timestamp() + wait_ms * interval '1 millisecond';
  looked timestamptz;
BEGIN
  -- Under REPEATABLE READ it would wait for ever for what it can't see.
  PERFORM livemessage.check_lease(NULL, NULL);
  LOOP
    looked := clock_timestamp();
    -- In the order of the index, and not EXISTS, which would read the table from its beginning.
    EXIT WHEN (SELECT q.id FROM livemessage.queue AS q ORDER BY q.id LIMIT 1) IS NOT NULL;
    IF looked >= last THEN RETURN 0; END IF;
    PERFORM pg_sleep(greatest(every_ms / 1000.0, 4 * extract(epoch FROM clock_timestamp() - looked)::float8));
  END LOOP;
  PERFORM livemessage.check_lease(lease, token);
  WITH moved AS (
    DELETE FROM livemessage.queue WHERE id = ANY (ARRAY(
      SELECT upto.id
      FROM (
        SELECT q.id, sum(q.bytes) OVER (ORDER BY q.id) - q.bytes AS before
        FROM (SELECT id, octet_length(data) AS bytes FROM livemessage.queue ORDER BY id LIMIT max) AS q
      ) AS upto
      WHERE upto.before < ${DRAIN_BYTES}
    ))
    RETURNING id, channel, data
  )
  SELECT array_agg(moved.channel ORDER BY moved.id), array_agg(moved.data ORDER BY moved.id) INTO channels, datas FROM moved;
  IF channels IS NULL THEN RETURN 0; END IF;
  packed := livemessage.pack(channels, datas);
  notify_data := m.notify_data FROM livemessage.meta AS m;
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  PERFORM livemessage.place_all(livemessage.now_ms(), tag, channels, datas, NULL, NULL, notify_data, packed.bodies, packed.counts);
  RETURN cardinality(channels);
END
$fn$;
`
