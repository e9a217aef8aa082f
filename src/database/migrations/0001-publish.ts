import { MAX_REST } from '../../protocol/names.ts'
import type { Migration } from '../migration.ts'

/**
 * The schema and the SQL side of publishing. The transport is NOTIFY itself: a publication must fit into one.
 *
 * Functions are SECURITY DEFINER with a fixed search_path: who may publish needs no other right, and nobody can
 * put objects of his own in their way. Trigger functions are checked for EXECUTE when the trigger is made, not
 * when it fires: whoever writes to the table needs no right at all.
 */
export const publish: Migration = {
  version: 1,
  name: 'publish',
  sql: `
DO $do$
BEGIN
  -- Not CREATE … IF NOT EXISTS: that asks for the right to create even where there is nothing to do.
  IF to_regnamespace('livemessage') IS NULL THEN
    CREATE SCHEMA livemessage;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'livemessage_publisher') THEN
    BEGIN
      CREATE ROLE livemessage_publisher NOLOGIN;
    EXCEPTION
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role livemessage_publisher was not created: % may not create roles', current_user
          USING HINT = 'Only ' || current_user || ' can publish by SQL. Let a role with CREATEROLE run: '
            'CREATE ROLE livemessage_publisher NOLOGIN; and grant it what this migration would have.';
      WHEN duplicate_object OR unique_violation THEN
        NULL; -- roles are common to all databases of the server, and another one was quicker
    END;
  END IF;
END
$do$;

CREATE TABLE IF NOT EXISTS livemessage.migration (
  component text NOT NULL,
  version int NOT NULL,
  name text NOT NULL,
  applied timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (component, version)
);

CREATE FUNCTION livemessage.is_channel(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $fn$
  SELECT name COLLATE pg_catalog."C" OPERATOR(pg_catalog.~)
    '^[A-Za-z][A-Za-z0-9_-]{0,63}:[A-Za-z0-9_.:@=-]{1,${MAX_REST}}$'
$fn$;

-- The NOTIFY payload. PostgreSQL delivers only one of several equal payloads of a transaction, so the second
-- and later ones carry a number.
CREATE FUNCTION livemessage.encode(channel text, data jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  number bigint := coalesce(nullif(current_setting('livemessage.number', true), ''), '0')::bigint + 1;
BEGIN
  PERFORM set_config('livemessage.number', number::text, true);
  RETURN '{"channel":' || to_json(channel)::text
    || CASE WHEN number > 1 THEN ',"n":' || number ELSE '' END
    || ',"data":' || coalesce(data, 'null'::jsonb)::text || '}';
END
$fn$;

CREATE FUNCTION livemessage.publish(channel text, data jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  payload text;
BEGIN
  IF channel IS NULL THEN
    RAISE EXCEPTION 'livemessage.publish: the channel is null' USING
      ERRCODE = 'null_value_not_allowed',
      HINT = 'A channel is named <subsystem>:<rest>, e.g. chat:general.';
  END IF;
  IF NOT livemessage.is_channel(channel) THEN
    RAISE EXCEPTION 'livemessage.publish: % is no channel', quote_literal(left(channel, 300)) USING
      ERRCODE = 'invalid_parameter_value',
      HINT = 'A channel is named <subsystem>:<rest>, e.g. chat:general. Subsystem: a letter, then up to 63 of '
        'A-Z a-z 0-9 _ -. Rest: 1 to ${MAX_REST} of A-Z a-z 0-9 _ . : @ = -.';
  END IF;
  payload := livemessage.encode(channel, data);
  IF octet_length(payload) >= 8000 THEN
    RAISE EXCEPTION 'livemessage.publish: the publication to % has % bytes, the limit is 7999', channel, octet_length(payload) USING
      ERRCODE = 'program_limit_exceeded',
      HINT = 'Channel and data together must fit into one NOTIFY. Publish what the reader needs to fetch the rest, '
        'or publish over HTTP or AMQP.';
  END IF;
  PERFORM pg_notify('livemessages', payload);
END
$fn$;

COMMENT ON FUNCTION livemessage.publish(text, jsonb) IS
  'Publishes data to a channel: delivered when this transaction commits, gone when it is rolled back.';

-- A template's value as part of a channel: what a channel can't hold is written =XX, byte by byte.
CREATE FUNCTION livemessage.encode_rest(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $fn$
  SELECT CASE WHEN value COLLATE "C" ~ '^[A-Za-z0-9_.:@-]*$' THEN value ELSE (
    SELECT string_agg(
      CASE WHEN chr(byte) COLLATE "C" ~ '[A-Za-z0-9_.:@-]' THEN chr(byte) ELSE '=' || upper(lpad(to_hex(byte), 2, '0')) END,
      '' ORDER BY at)
    FROM (
      SELECT at, get_byte(bytes, at) AS byte
      FROM convert_to(value, 'UTF8') AS bytes, generate_series(0, octet_length(bytes) - 1) AS at
    ) AS bytes
  ) END
$fn$;

CREATE FUNCTION livemessage.publish_row() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  -- 'trigger on schema.table', for the warnings: nothing here may fail the caller's transaction.
  place text := format('livemessage.publish_row (%s on %s.%s)', TG_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME);
  template text := TG_ARGV[0];
  channel text := TG_ARGV[0];
  record jsonb;
  data jsonb := '{}';
  field text;
  payload text;
BEGIN
  IF TG_LEVEL <> 'ROW' THEN
    RAISE WARNING '%: needs FOR EACH ROW, nothing published', place;
    RETURN NULL;
  END IF;
  record := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);

  IF template IS NULL THEN
    RAISE WARNING '%: the channel template is missing, nothing published', place;
    RETURN coalesce(NEW, OLD);
  END IF;
  FOR field IN SELECT DISTINCT match[1] FROM regexp_matches(template, '\\{([^{}]+)\\}', 'g') AS match LOOP
    IF record ->> field IS NULL THEN
      RAISE WARNING '%: column % in the channel template % is %, nothing published', place, quote_ident(field),
        quote_literal(template), CASE WHEN record ? field THEN 'null' ELSE 'not there' END;
      RETURN coalesce(NEW, OLD);
    END IF;
    channel := replace(channel, '{' || field || '}', livemessage.encode_rest(record ->> field));
  END LOOP;
  IF NOT livemessage.is_channel(channel) THEN
    RAISE WARNING '%: % is no channel, nothing published', place, quote_literal(left(channel, 300));
    RETURN coalesce(NEW, OLD);
  END IF;

  FOR i IN 1 .. TG_NARGS - 1 LOOP
    IF record ? TG_ARGV[i] THEN
      data := data || jsonb_build_object(TG_ARGV[i], record -> TG_ARGV[i]);
    ELSE
      RAISE WARNING '%: there is no column %, published without it', place, quote_ident(TG_ARGV[i]);
    END IF;
  END LOOP;
  payload := livemessage.encode(channel, data);
  IF octet_length(payload) >= 8000 THEN
    RAISE WARNING '%: the publication to % has % bytes, the limit is 7999, nothing published', place, channel, octet_length(payload);
  ELSE
    PERFORM pg_notify('livemessages', payload);
  END IF;
  RETURN coalesce(NEW, OLD);
END
$fn$;

COMMENT ON FUNCTION livemessage.publish_row() IS
  'Trigger function: publish_row(''<channel template with {column}>'', ''column'', …) publishes these columns of the row.';

REVOKE ALL ON FUNCTION livemessage.encode(text, jsonb), livemessage.encode_rest(text), livemessage.is_channel(text),
  livemessage.publish(text, jsonb), livemessage.publish_row() FROM PUBLIC;

DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'livemessage_publisher') THEN
    GRANT USAGE ON SCHEMA livemessage TO livemessage_publisher;
    GRANT EXECUTE ON FUNCTION livemessage.publish(text, jsonb), livemessage.publish_row() TO livemessage_publisher;
  END IF;
END
$do$;
`,
}
