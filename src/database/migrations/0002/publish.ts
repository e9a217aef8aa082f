import { MAX_REST } from '../../../protocol/names.ts'

/** What applications call: `publish`, `publish_many`, `enqueue`. */
export const PUBLISH = `
-- As before and ten times as fast: a bound like {1,200} in the expression costs more than all else in publish. Not
-- STRICT, which would keep it from being inlined; null is null all the same.
CREATE OR REPLACE FUNCTION livemessage.is_channel(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $fn$
  SELECT name COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '^[A-Za-z][A-Za-z0-9_-]*:[A-Za-z0-9_.:@=-]+$'
    AND pg_catalog.strpos(name, ':') OPERATOR(pg_catalog.<=) 65
    AND pg_catalog.length(name) OPERATOR(pg_catalog.-) pg_catalog.strpos(name, ':') OPERATOR(pg_catalog.<=) ${MAX_REST}
$fn$;

CREATE FUNCTION livemessage.refuse(place text, channel text) RETURNS void
LANGUAGE plpgsql
AS $fn$
BEGIN
  IF channel IS NULL THEN
    RAISE EXCEPTION '%: the channel is null', place USING
      ERRCODE = 'null_value_not_allowed',
      HINT = 'A channel is named <subsystem>:<rest>, e.g. chat:general.';
  END IF;
  RAISE EXCEPTION '%: % is no channel', place, quote_literal(left(channel, 300)) USING
    ERRCODE = 'invalid_parameter_value',
    HINT = 'A channel is named <subsystem>:<rest>, e.g. chat:general. Subsystem: a letter, then up to 63 of '
      'A-Z a-z 0-9 _ -. Rest: 1 to ${MAX_REST} of A-Z a-z 0-9 _ . : @ = -.';
END
$fn$;

-- For publications that are not of a journaled subsystem that is known, and small enough. Of one that is not known:
-- journaled, so that nothing is lost before a daemon was there. Of a transient one: a bare NOTIFY. Returns the size
-- and the limit of one that is too large, else nothing.
CREATE FUNCTION livemessage.publish_other(channel text, data jsonb, queued boolean, OUT bytes int, OUT most int) RETURNS record
LANGUAGE plpgsql
AS $fn$
DECLARE
  json text := coalesce(data, 'null')::text;
  transient boolean;
  notify boolean;
BEGIN
  SELECT NOT s.journaled, coalesce(s.most_bytes, m.max_bytes), m.notify_data INTO transient, most, notify
  FROM livemessage.meta AS m
  LEFT JOIN livemessage.subsystem AS s ON s.name = split_part(publish_other.channel, ':', 1);
  IF transient THEN
    json := livemessage.encode(channel, data);
    most := 7999;
  END IF;
  IF octet_length(json) > most THEN
    bytes := octet_length(json);
  ELSIF transient THEN
    PERFORM pg_notify('livemessages', json);
  ELSIF queued THEN
    INSERT INTO livemessage.queue (channel, data) VALUES (publish_other.channel, json);
  ELSE
    INSERT INTO livemessage.pending (channel, data, notify_data) VALUES (publish_other.channel, json, notify);
  END IF;
END
$fn$;

-- The same for callers whose statement is to fail where it is too large.
CREATE FUNCTION livemessage.publish_or_fail(place text, channel text, data jsonb, queued boolean) RETURNS void
LANGUAGE plpgsql
AS $fn$
DECLARE
  refused record := livemessage.publish_other(channel, data, queued);
BEGIN
  IF refused.bytes IS NULL THEN RETURN; END IF;
  RAISE EXCEPTION '%: the publication to % has % bytes, the limit is %', place, channel, refused.bytes, refused.most USING
    ERRCODE = 'program_limit_exceeded',
    HINT = 'Publish what the reader needs to fetch the rest. A transient subsystem''s publication must fit into one '
      'NOTIFY, channel and data together; a journaled one''s data into limits.publicationBytes.';
END
$fn$;

CREATE OR REPLACE FUNCTION livemessage.publish(channel text, data jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  json text := coalesce(data::text, 'null');
BEGIN
  IF livemessage.is_channel(channel) IS NOT TRUE THEN
    PERFORM livemessage.refuse('livemessage.publish', channel);
  END IF;
  INSERT INTO livemessage.pending (channel, data, notify_data)
  SELECT publish.channel, json, s.notify_data FROM livemessage.subsystem AS s
  WHERE s.name = split_part(publish.channel, ':', 1) AND s.journaled AND octet_length(json) <= s.most_bytes;
  IF FOUND THEN RETURN; END IF;
  PERFORM livemessage.publish_or_fail('livemessage.publish', channel, data, false);
END
$fn$;

-- Packs lines into bodies of NOTIFYs, each with room for its first line; an empty body where a line is too long.
CREATE FUNCTION livemessage.pack(channels text[], datas text[], OUT bodies text[], OUT counts int[]) RETURNS record
LANGUAGE plpgsql
AS $fn$
DECLARE
  body text := '';
  size int := 0;
  count int := 0;
  bytes int;
  fits boolean;
BEGIN
  bodies := '{}';
  counts := '{}';
  FOR i IN 1 .. cardinality(channels) LOOP
    bytes := octet_length(channels[i]) + 1 + octet_length(datas[i]);
    -- 7,999 less 100 for the first line: four numbers of 20 digits at most.
    fits := bytes < 7900;
    IF count > 0 AND NOT (fits AND size > 0 AND size + 1 + bytes < 7900) THEN
      bodies := bodies || body;
      counts := counts || count;
      body := '';
      size := 0;
      count := 0;
    END IF;
    count := count + 1;
    IF fits THEN
      body := CASE WHEN size = 0 THEN '' ELSE body || E'\\n' END || channels[i] || ' ' || datas[i];
      size := octet_length(body);
    END IF;
  END LOOP;
  IF count > 0 THEN
    bodies := bodies || body;
    counts := counts || count;
  END IF;
END
$fn$;

CREATE FUNCTION livemessage.publish_many(publications jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  one record;
  channels text[] := '{}';
  datas text[] := '{}';
  notify_data boolean;
BEGIN
  IF jsonb_typeof(publications) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'livemessage.publish_many: expected an array, got %', coalesce(jsonb_typeof(publications), 'null') USING
      ERRCODE = 'invalid_parameter_value',
      HINT = 'For example: [{"channel":"chat:general","data":{"text":"hello"}}]';
  END IF;
  notify_data := m.notify_data FROM livemessage.meta AS m;
  FOR one IN
    SELECT p.n, p.item ->> 'channel' AS channel, p.item -> 'data' AS data,
      coalesce(p.item -> 'data', 'null')::text AS json,
      s.journaled IS NOT FALSE AS journaled, coalesce(s.most_bytes, m.max_bytes) AS most
    FROM livemessage.meta AS m
    CROSS JOIN jsonb_array_elements(publications) WITH ORDINALITY AS p(item, n)
    LEFT JOIN livemessage.subsystem AS s ON s.name = split_part(p.item ->> 'channel', ':', 1)
    ORDER BY p.n
  LOOP
    IF livemessage.is_channel(one.channel) IS NOT TRUE THEN
      PERFORM livemessage.refuse('livemessage.publish_many: publication ' || one.n, one.channel);
    END IF;
    IF NOT one.journaled OR octet_length(one.json) > one.most THEN
      PERFORM livemessage.publish_or_fail('livemessage.publish_many: publication ' || one.n, one.channel, one.data, false);
    ELSE
      channels := channels || one.channel;
      datas := datas || one.json;
    END IF;
  END LOOP;
  IF cardinality(channels) > 0 THEN
    INSERT INTO livemessage.pending (data, notify_data)
    SELECT json_build_object('channels', channels, 'datas', datas, 'bodies', packed.bodies, 'counts', packed.counts), notify_data
    FROM livemessage.pack(channels, datas) AS packed;
  END IF;
END
$fn$;

CREATE FUNCTION livemessage.enqueue(channel text, data jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  json text := coalesce(data::text, 'null');
BEGIN
  IF livemessage.is_channel(channel) IS NOT TRUE THEN
    PERFORM livemessage.refuse('livemessage.enqueue', channel);
  END IF;
  INSERT INTO livemessage.queue (channel, data)
  SELECT enqueue.channel, json FROM livemessage.subsystem AS s
  WHERE s.name = split_part(enqueue.channel, ':', 1) AND s.journaled AND octet_length(json) <= s.most_bytes;
  IF FOUND THEN RETURN; END IF;
  PERFORM livemessage.publish_or_fail('livemessage.enqueue', channel, data, true);
END
$fn$;
`
