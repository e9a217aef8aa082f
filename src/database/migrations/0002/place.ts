import { JOURNAL_NOTIFY, POSITION_LOCK } from './names.ts'

/** What happens at commit: positions, rows, NOTIFYs. */
export const PLACE = `
CREATE FUNCTION livemessage.now_ms() RETURNS bigint
LANGUAGE sql VOLATILE
AS $fn$ SELECT (date_part('epoch', clock_timestamp()) * 1000)::bigint $fn$;

-- Appends at adjacent positions, and notifies. The caller holds the position lock.
CREATE FUNCTION livemessage.place_all(
  at bigint, tag bigint, channels text[], datas text[], excludes text[], marks text[],
  notify_data boolean, bodies text[], counts int[]
) RETURNS bigint
LANGUAGE plpgsql
AS $fn$
DECLARE
  first bigint := nextval('livemessage.positions');
  count int := cardinality(channels);
  next bigint := first;
  payload text;
BEGIN
  IF count > 1 AND setval('livemessage.positions', first + count - 1) IS NULL THEN END IF;
  INSERT INTO livemessage.journal (position, channel, time, tag, data, exclude, mark)
  SELECT first + d.n - 1, d.channel, at, place_all.tag, d.data, d.exclude, d.mark
  FROM unnest(channels, datas, excludes, marks) WITH ORDINALITY AS d(channel, data, exclude, mark, n);
  IF notify_data AND bodies IS NOT NULL THEN
    FOR i IN 1 .. cardinality(bodies) LOOP
      payload := next || ' ' || counts[i] || ' ' || at || ' ' || tag || E'\\n';
      IF octet_length(payload) + octet_length(bodies[i]) < 8000 THEN
        payload := payload || bodies[i];
      END IF;
      IF pg_notify('${JOURNAL_NOTIFY}', payload) IS NULL THEN END IF;
      next := next + counts[i];
    END LOOP;
    IF next <> first + count THEN
      RAISE EXCEPTION 'livemessage: the counts add up to %, there are % publications', next - first, count USING
        ERRCODE = 'invalid_parameter_value';
    END IF;
  ELSE
    PERFORM pg_notify('${JOURNAL_NOTIFY}', first || ' ' || count || ' ' || at || ' ' || tag || E'\\n');
  END IF;
  RETURN first;
END
$fn$;

CREATE FUNCTION livemessage.place_many(many json, tag bigint, notify_data boolean) RETURNS void
LANGUAGE plpgsql
AS $fn$
DECLARE
  channels text[] := ARRAY(SELECT json_array_elements_text(many -> 'channels'));
  datas text[] := ARRAY(SELECT json_array_elements_text(many -> 'datas'));
  bodies text[] := ARRAY(SELECT json_array_elements_text(many -> 'bodies'));
  counts int[] := ARRAY(SELECT json_array_elements_text(many -> 'counts')::int);
BEGIN
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  PERFORM livemessage.place_all(livemessage.now_ms(), tag, channels, datas, NULL, NULL, notify_data, bodies, counts);
END
$fn$;

-- What does not read or write a table is a simple expression of PL/pgSQL, which costs a tenth of a statement: hence
-- the IFs that do nothing.
CREATE FUNCTION livemessage.place() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  first bigint;
  at bigint;
  tag bigint;
  payload text;
BEGIN
  -- Events run in the order in which they were queued. This queues another one behind the application's deferred
  -- constraints, and again behind those that the application's deferred triggers caused: a check that waited for
  -- somebody's row while we hold the position lock would be a deadlock with him as soon as he publishes.
  IF NEW.step < 2 THEN
    INSERT INTO livemessage.pending (step, channel, data, notify_data)
    VALUES (NEW.step + 1, NEW.channel, NEW.data, NEW.notify_data);
    RETURN NULL;
  END IF;
  tag := random() * 9007199254740991;
  IF NEW.channel IS NULL THEN
    PERFORM livemessage.place_many(NEW.data::json, tag, NEW.notify_data);
    RETURN NULL;
  END IF;
  -- 7,999 less 100 for the first line, as in pack.
  payload := CASE WHEN NEW.notify_data AND octet_length(NEW.channel) + octet_length(NEW.data) < 7899
    THEN tag || E'\\n' || NEW.channel || ' ' || NEW.data ELSE tag || E'\\n' END;
  IF pg_advisory_xact_lock(${POSITION_LOCK}) IS NULL THEN END IF;
  first := nextval('livemessage.positions');
  at := date_part('epoch', clock_timestamp()) * 1000;
  INSERT INTO livemessage.journal (position, channel, time, tag, data) VALUES (first, NEW.channel, at, tag, NEW.data);
  IF pg_notify('${JOURNAL_NOTIFY}', first || ' 1 ' || at || ' ' || payload) IS NULL THEN END IF;
  RETURN NULL;
END
$fn$;

CREATE CONSTRAINT TRIGGER place AFTER INSERT ON livemessage.pending
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION livemessage.place();
-- Also for who publishes with session_replication_role = replica.
ALTER TABLE livemessage.pending ENABLE ALWAYS TRIGGER place;
`
