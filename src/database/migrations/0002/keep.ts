import { JOURNAL_NOTIFY, POSITION_LOCK } from './names.ts'

/** What keeps the journal in order: retention, subsystems, epochs, mailboxes. */
export const KEEP = `
-- Deletes what is older than its subsystem's age, in milliseconds, and moves the floors: max_rows at most, and ten times as
-- many looked at. What no daemon names is kept as long as the longest. Returns how many rows went, and whether another
-- call may find more, which may be so though none went: rows that stay can lie in front. "first" says that the call is the
-- first one of a round, which may empty the table pending.
CREATE FUNCTION livemessage.sweep(
  subsystems jsonb, max_rows int, lease text, token bigint, first boolean DEFAULT true, OUT swept int, OUT more boolean
) RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off -- as in append: a plan may be older than the table is large
AS $fn$
DECLARE
  at bigint := livemessage.now_ms();
  longest bigint := (SELECT max(s.value::bigint) FROM jsonb_each_text(subsystems) AS s);
  one record;
  low bigint;
  high bigint;
  young bigint;
  beyond bigint;
  looked int;
  gone int;
  size bigint;
BEGIN
  PERFORM livemessage.check_lease(lease, token);
  swept := 0;
  more := false;
  FOR one IN
    SELECT s.key AS name, at - s.value::bigint AS cutoff FROM jsonb_each_text(subsystems) AS s WHERE s.value IS NOT NULL
    UNION ALL
    SELECT '', at - longest
    ORDER BY 1
  LOOP
    CONTINUE WHEN one.cutoff IS NULL;
    IF swept >= max_rows THEN
      more := true;
      EXIT;
    END IF;
    low := coalesce((SELECT f.position FROM livemessage.floor AS f WHERE f.subsystem = one.name), 0);
    -- From the floor up to the first that is young enough, whosever it is: times go up with positions. Or up to the first
    -- that is one too many.
    SELECT min(j.position) FILTER (WHERE j.time >= one.cutoff), min(j.position) FILTER (WHERE j.own > max_rows - swept),
      max(j.position), count(*)
    INTO young, beyond, high, looked
    FROM (
      SELECT r.position, r.time, count(*) FILTER (WHERE CASE WHEN one.name <> '' THEN r.name = one.name
        ELSE NOT subsystems ? r.name AND NOT EXISTS (SELECT FROM livemessage.subsystem AS s WHERE s.name = r.name) END
      ) OVER (ORDER BY r.position) AS own
      FROM (
        SELECT position, time, split_part(channel, ':', 1) AS name FROM livemessage.journal WHERE position > low
        ORDER BY position LIMIT max_rows * 10
      ) AS r
    ) AS j;
    IF young IS NULL OR beyond < young THEN
      more := more OR beyond IS NOT NULL OR looked = max_rows * 10;
    END IF;
    high := coalesce(least(young, beyond) - 1, high);
    CONTINUE WHEN high IS NULL OR high <= low;
    IF one.name = '' THEN
      WITH deleted AS (
        DELETE FROM livemessage.journal AS j
        WHERE j.position > low AND j.position <= high AND NOT subsystems ? split_part(j.channel, ':', 1)
          AND NOT EXISTS (SELECT FROM livemessage.subsystem AS s WHERE s.name = split_part(j.channel, ':', 1))
        RETURNING j.channel, j.position
      ), moved AS (
        INSERT INTO livemessage.floor AS f (subsystem, position)
        SELECT split_part(deleted.channel, ':', 1), max(deleted.position) FROM deleted GROUP BY 1
        ON CONFLICT (subsystem) DO UPDATE SET position = greatest(f.position, excluded.position)
      )
      SELECT count(*) INTO gone FROM deleted;
    ELSE
      DELETE FROM livemessage.journal AS j
      WHERE j.position > low AND j.position <= high AND split_part(j.channel, ':', 1) = one.name;
      GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    INSERT INTO livemessage.floor AS f (subsystem, position) VALUES (one.name, high)
    ON CONFLICT (subsystem) DO UPDATE SET position = greatest(f.position, excluded.position);
    swept := swept + gone;
  END LOOP;

  DELETE FROM livemessage.key WHERE (scope, channel, position) IN (
    SELECT scope, channel, position FROM livemessage.key WHERE until < at ORDER BY until LIMIT max_rows - swept
  );
  GET DIAGNOSTICS gone = ROW_COUNT;
  swept := swept + gone;
  DELETE FROM livemessage.letter WHERE id IN (
    SELECT id FROM livemessage.letter WHERE time < now() - interval '1 minute' ORDER BY id LIMIT max_rows - swept
  );
  GET DIAGNOSTICS gone = ROW_COUNT;
  swept := swept + gone;
  -- Mailboxes in which nothing is any more that was not confirmed or swept, and nobody has confirmed since.
  FOR one IN
    SELECT f.subsystem AS name, f.position,
      to_timestamp((at - coalesce((subsystems ->> f.subsystem)::bigint, longest)) / 1000.0) AS cutoff
    FROM livemessage.floor AS f WHERE f.subsystem <> '' ORDER BY 1
  LOOP
    DELETE FROM livemessage.mailbox AS m WHERE m.time < one.cutoff AND m.position <= one.position AND (m.user_id, m.channel) IN (
      SELECT o.user_id, o.channel FROM livemessage.mailbox AS o
      WHERE split_part(o.channel, ':', 1) = one.name AND o.time < one.cutoff AND o.position <= one.position
      ORDER BY o.time LIMIT max_rows - swept
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    swept := swept + gone;
  END LOOP;

  -- Last, for its lock stops who publishes until this transaction has ended: which is at once. A table that has grown
  -- large is worth a moment's wait for those who are publishing, but not one at each call: where a long transaction has
  -- published, it is in vain until that ends.
  -- With what is stored apart: the rows of publish_many are long.
  size := pg_total_relation_size('livemessage.pending');
  IF size > 1e6 THEN
    BEGIN
      IF first IS NOT TRUE THEN RAISE lock_not_available; END IF;
      PERFORM set_config('lock_timeout', CASE WHEN size > 64e6 THEN '20ms' ELSE '1ms' END, true);
      LOCK TABLE livemessage.pending IN ACCESS EXCLUSIVE MODE;
      TRUNCATE livemessage.pending;
    EXCEPTION
      WHEN lock_not_available THEN
        DELETE FROM livemessage.pending WHERE ctid = ANY (ARRAY(SELECT ctid FROM livemessage.pending LIMIT max_rows - swept));
        GET DIAGNOSTICS gone = ROW_COUNT;
        swept := swept + gone;
    END;
  END IF;
  more := more OR swept >= max_rows;
END
$fn$;

-- {"chat": {"journaled": true, "max_bytes": 1048576}, …}: the subsystems of a daemon's config.
CREATE FUNCTION livemessage.set_subsystems(subsystems jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  -- Their copies of meta are taken from a row that does not change meanwhile.
  PERFORM FROM livemessage.meta FOR SHARE;
  INSERT INTO livemessage.subsystem AS s (name, journaled, max_bytes)
  SELECT n.key, coalesce((n.value ->> 'journaled')::boolean, true), (n.value ->> 'max_bytes')::int
  FROM jsonb_each(subsystems) AS n ORDER BY 1
  ON CONFLICT (name) DO UPDATE SET journaled = excluded.journaled, max_bytes = excluded.max_bytes, updated = now();
  -- Not at once: while nodes are upgraded one by one, the others may still have it.
  DELETE FROM livemessage.subsystem AS s WHERE NOT subsystems ? s.name AND s.updated < now() - interval '1 day';
END
$fn$;

-- What tells this server, database and table from others, and a data folder from its copy. What may not be asked is
-- null (some hosted servers, roles without rights): the tags have to do then.
CREATE FUNCTION livemessage.identity(OUT system text, OUT timeline int, OUT postmaster timestamptz, OUT folder text) RETURNS record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  postmaster := pg_postmaster_start_time();
  BEGIN
    system := s.system_identifier || '/' || d.oid || '/' || 'livemessage.journal'::regclass::oid
    FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database();
    -- The control file learns of a promotion late, the name of the present WAL file does not.
    timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int;
  EXCEPTION
    WHEN insufficient_privilege THEN NULL;
  END;
  BEGIN
    -- Written once by initdb: it has another time of change where it was copied.
    folder := (extract(epoch FROM f.change) * 1000)::bigint FROM pg_stat_file('PG_VERSION') AS f;
  EXCEPTION
    WHEN insufficient_privilege THEN NULL;
  END;
END
$fn$;

-- With "expected" only where that is the epoch still: of several nodes that find out, one mints it. Positions go on
-- above "above", the highest that whoever asks has seen: none stands for two publications, whatever the epoch.
CREATE FUNCTION livemessage.new_epoch(reason text, expected text DEFAULT NULL, above bigint DEFAULT 0) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  minted text;
BEGIN
  PERFORM livemessage.check_lease(NULL, NULL);
  -- Before the position lock, under which nothing waits for a row.
  PERFORM FROM livemessage.meta FOR UPDATE;
  PERFORM pg_advisory_xact_lock(${POSITION_LOCK});
  -- 48 random bits of it.
  UPDATE livemessage.meta AS m SET epoch = left(replace(gen_random_uuid()::text, '-', ''), 12), minted = clock_timestamp(),
    reason = new_epoch.reason, system_identifier = i.system, timeline = i.timeline, postmaster = i.postmaster, folder = i.folder
  FROM livemessage.identity() AS i
  WHERE expected IS NULL OR m.epoch = expected
  RETURNING m.epoch INTO minted;
  PERFORM setval('livemessage.positions', greatest(
    p.last_value, above, (SELECT max(j.position) FROM livemessage.journal AS j), (SELECT max(f.position) FROM livemessage.floor AS f)
  )) FROM livemessage.positions AS p WHERE p.is_called OR above > 0 OR EXISTS (SELECT FROM livemessage.journal);
  IF minted IS NOT NULL THEN
    PERFORM pg_notify('${JOURNAL_NOTIFY}', 'epoch ' || minted);
  END IF;
  RETURN m.epoch FROM livemessage.meta AS m;
END
$fn$;

CREATE FUNCTION livemessage.confirm(users text[], channels text[], positions bigint[]) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $fn$
  INSERT INTO livemessage.mailbox AS m (user_id, channel, position)
  SELECT c.user_id, c.channel, max(c.position) FROM unnest(users, channels, positions) AS c(user_id, channel, position)
  GROUP BY 1, 2 ORDER BY 1, 2
  ON CONFLICT (user_id, channel) DO UPDATE SET position = excluded.position, time = now()
  WHERE m.position < excluded.position
$fn$;
`
