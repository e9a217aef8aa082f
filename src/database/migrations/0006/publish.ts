import { MAX_REST } from '../../../protocol/names.ts'

/** What publishing does beside the fast path: the outbox, and channels that leave their database out. */
export const PUBLISH = `
-- For publications that are not of a journaled subsystem that is known, and small enough. Of one that is not known:
-- journaled, so that nothing is lost before a daemon was there. Of a transient one: a bare NOTIFY, whose channel the
-- daemon completes. Returns the size and the limit of one that is too large, else nothing.
CREATE OR REPLACE FUNCTION livemessage.publish_other(channel text, data jsonb, queued boolean, OUT bytes int, OUT most int) RETURNS record
LANGUAGE plpgsql
AS $fn$
DECLARE
  json text := coalesce(data, 'null')::text;
  target text := channel;
  transient boolean;
  known record;
BEGIN
  SELECT NOT s.journaled AS transient, coalesce(s.max_bytes, m.max_bytes) AS most, m.notify_data, m.outbox, m.name,
    s.per_database IS TRUE AS per_database
  INTO known
  FROM livemessage.meta AS m
  LEFT JOIN livemessage.subsystem AS s ON s.name = split_part(publish_other.channel, ':', 1);
  transient := known.transient;
  most := known.most;
  IF transient THEN
    json := livemessage.encode(channel, data);
    most := 7999;
  ELSIF known.per_database AND known.name IS NOT NULL THEN
    target := livemessage.in_database(channel, known.name);
    IF octet_length(target) - strpos(target, ':') > ${MAX_REST} THEN
      bytes := octet_length(target) - strpos(target, ':');
      most := ${MAX_REST};
      RETURN;
    END IF;
  END IF;
  IF octet_length(json) > most THEN
    bytes := octet_length(json);
  ELSIF transient THEN
    PERFORM pg_notify('livemessages', json);
  ELSIF known.outbox THEN
    INSERT INTO livemessage.outbox (channel, data) VALUES (target, json);
  ELSIF queued THEN
    INSERT INTO livemessage.queue (channel, data) VALUES (target, json);
  ELSE
    INSERT INTO livemessage.pending (channel, data, notify_data) VALUES (target, json, known.notify_data);
  END IF;
END
$fn$;

-- messages:42 in database b is messages:b:42.
CREATE FUNCTION livemessage.in_database(channel text, database text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $fn$
  SELECT pg_catalog.substr(channel, 1, pg_catalog.strpos(channel, ':')) OPERATOR(pg_catalog.||) database
    OPERATOR(pg_catalog.||) pg_catalog.substr(channel, pg_catalog.strpos(channel, ':'))
$fn$;

CREATE OR REPLACE FUNCTION livemessage.publish_many(publications jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  one record;
  channels text[] := '{}';
  datas text[] := '{}';
  here record;
BEGIN
  IF jsonb_typeof(publications) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'livemessage.publish_many: expected an array, got %', coalesce(jsonb_typeof(publications), 'null') USING
      ERRCODE = 'invalid_parameter_value',
      HINT = 'For example: [{"channel":"chat:general","data":{"text":"hello"}}]';
  END IF;
  SELECT m.notify_data, m.outbox INTO here FROM livemessage.meta AS m;
  FOR one IN
    SELECT p.n, p.item -> 'data' AS data, coalesce(p.item -> 'data', 'null')::text AS json,
      s.journaled IS NOT FALSE AS journaled, coalesce(s.max_bytes, m.max_bytes) AS most, p.item ->> 'channel' AS channel,
      CASE WHEN s.per_database AND s.journaled AND m.name IS NOT NULL
        THEN livemessage.in_database(p.item ->> 'channel', m.name) ELSE p.item ->> 'channel' END AS target
    FROM livemessage.meta AS m
    CROSS JOIN jsonb_array_elements(publications) WITH ORDINALITY AS p(item, n)
    LEFT JOIN livemessage.subsystem AS s ON s.name = split_part(p.item ->> 'channel', ':', 1)
    ORDER BY p.n
  LOOP
    IF livemessage.is_channel(one.channel) IS NOT TRUE OR livemessage.is_channel(one.target) IS NOT TRUE THEN
      PERFORM livemessage.refuse('livemessage.publish_many: publication ' || one.n, one.target);
    END IF;
    IF NOT one.journaled OR octet_length(one.json) > one.most THEN
      PERFORM livemessage.publish_or_fail('livemessage.publish_many: publication ' || one.n, one.channel, one.data, false);
    ELSE
      channels := channels || one.target;
      datas := datas || one.json;
    END IF;
  END LOOP;
  IF cardinality(channels) = 0 THEN RETURN; END IF;
  IF here.outbox THEN
    INSERT INTO livemessage.outbox (data) VALUES (json_build_object('channels', channels, 'datas', datas));
    RETURN;
  END IF;
  INSERT INTO livemessage.pending (data, notify_data)
  SELECT json_build_object('channels', channels, 'datas', datas, 'bodies', packed.bodies, 'counts', packed.counts),
    here.notify_data
  FROM livemessage.pack(channels, datas) AS packed;
END
$fn$;

REVOKE ALL ON FUNCTION livemessage.in_database(text, text) FROM PUBLIC;
`
