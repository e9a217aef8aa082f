/** The trigger function `publish_row`, and its dead letters. */
export const PUBLISH_ROW = `
CREATE FUNCTION livemessage.bury(
  place text, channel text, code text, reason text, body text, headers jsonb
) RETURNS void
LANGUAGE plpgsql
AS $fn$
BEGIN
  RAISE WARNING '%: %, nothing published', place, reason USING HINT = 'livemessage dead list';
  INSERT INTO livemessage.dead (source, name, channel, subsystem, code, reason, attempts, body, headers, database)
  VALUES ('postgres', place, left(bury.channel, 1000), left(split_part(bury.channel, ':', 1), 64), bury.code,
    bury.reason, 1, bury.body, bury.headers, current_database());
EXCEPTION
  WHEN OTHERS THEN
    RAISE WARNING '%: no dead letter could be written: %', place, SQLERRM;
END
$fn$;

CREATE OR REPLACE FUNCTION livemessage.publish_row() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  -- 'trigger on schema.table', for the warnings: nothing here may fail the caller's transaction.
  place text := format('livemessage.publish_row (%s on %s.%s)', TG_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME);
  template text := TG_ARGV[0];
  target text := TG_ARGV[0];
  record jsonb;
  data jsonb := '{}';
  json text;
  field text;
  code text;
  reason text;
  refused record;
BEGIN
  IF TG_LEVEL <> 'ROW' THEN
    RAISE WARNING '%: needs FOR EACH ROW, nothing published', place;
    RETURN NULL;
  END IF;
  record := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
  FOR i IN 1 .. TG_NARGS - 1 LOOP
    IF record ? TG_ARGV[i] THEN
      data := data || jsonb_build_object(TG_ARGV[i], record -> TG_ARGV[i]);
    ELSE
      RAISE WARNING '%: there is no column %, published without it', place, quote_ident(TG_ARGV[i]);
    END IF;
  END LOOP;

  IF template IS NULL THEN
    code := 'no_channel';
    reason := 'the channel template is missing';
  ELSE
    FOR field IN SELECT DISTINCT match[1] FROM regexp_matches(template, '\\{([^{}]+)\\}', 'g') AS match LOOP
      IF record ->> field IS NULL THEN
        code := 'bad_channel';
        reason := format('column %s in the channel template %s is %s', quote_ident(field), quote_literal(template),
          CASE WHEN record ? field THEN 'null' ELSE 'not there' END);
      ELSE
        target := replace(target, '{' || field || '}', livemessage.encode_rest(record ->> field));
      END IF;
    END LOOP;
    IF code IS NULL AND NOT livemessage.is_channel(target) THEN
      code := 'bad_channel';
      reason := format('%s is no channel', quote_literal(left(target, 300)));
    END IF;
  END IF;

  IF code IS NULL THEN
    json := data::text;
    INSERT INTO livemessage.pending (channel, data, notify_data)
    SELECT target, json, s.notify_data FROM livemessage.subsystem AS s
    WHERE s.name = split_part(target, ':', 1) AND s.journaled AND octet_length(json) <= s.most_bytes;
    IF NOT FOUND THEN
      refused := livemessage.publish_other(target, data, false);
      IF refused.bytes IS NOT NULL THEN
        code := 'too_large';
        reason := format('the publication to %s has %s bytes, the limit is %s', target, refused.bytes, refused.most);
      END IF;
    END IF;
  END IF;
  IF code IS NOT NULL THEN
    PERFORM livemessage.bury(place, target, code, reason, data::text, jsonb_build_object(
      'trigger', TG_NAME, 'table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', TG_OP, 'template', template));
  END IF;
  RETURN coalesce(NEW, OLD);
END
$fn$;
`
