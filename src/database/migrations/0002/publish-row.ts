import { MAX_LETTER_BYTES } from './names.ts'

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
    left(bury.reason, 1000), 1, CASE WHEN octet_length(bury.body) <= ${MAX_LETTER_BYTES} THEN bury.body END, bury.headers,
    current_database());
EXCEPTION
  WHEN OTHERS THEN
    RAISE WARNING '%: no dead letter could be written: %', place, SQLERRM;
END
$fn$;

-- How a value of this type may become jsonb where a definer's rights are in force. 'own': by to_jsonb. For types that are
-- not PostgreSQL's own that would run casts to json, and whoever owns a type can make one. 'texts': as an array of the
-- elements' texts. Anything else, types that this snapshot does not know among them: as text, by the output function, which
-- is C. What is read here of a type never changes.
CREATE FUNCTION livemessage.json_kind(type oid) RETURNS text
LANGUAGE plpgsql
AS $fn$
DECLARE
  known record;
BEGIN
  -- 16384: FirstNormalObjectId.
  WHILE type >= 16384 LOOP
    SELECT t.typtype, t.typbasetype, t.typcategory, t.typlen, t.typelem, t.typdelim INTO known FROM pg_type AS t WHERE t.oid = type;
    IF known.typtype = 'd' THEN
      type := known.typbasetype;
    ELSIF known.typcategory = 'A' AND known.typlen = -1 AND known.typelem <> 0 THEN
      RETURN CASE WHEN livemessage.json_kind(known.typelem) = 'own' THEN 'own' WHEN known.typdelim = ',' THEN 'texts' END;
    ELSE
      RETURN NULL;
    END IF;
  END LOOP;
  RETURN 'own';
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
  item record;
  fields text[];
  names text[];
  expressions text;
  items jsonb[];
  -- At other levels this function's snapshot may be older than the table's columns are.
  fresh boolean := current_setting('transaction_isolation') = 'read committed';
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
  BEGIN
    IF TG_OP = 'DELETE' THEN item := OLD; ELSE item := NEW; END IF;
    fields := ARRAY(SELECT DISTINCT match[1] FROM regexp_matches(template, '\\{([^{}]+)\\}', 'g') AS match);
    IF fresh AND NOT EXISTS (
      SELECT FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND atttypid >= 16384
    ) THEN
      BEGIN
        record := to_jsonb(item);
      EXCEPTION
        WHEN OTHERS THEN NULL; -- of a column perhaps that nobody named
      END;
    END IF;
    IF record IS NULL THEN
      -- has_column_privilege fails where the column is gone meanwhile: (row).name would be the function of that name.
      SELECT array_agg(a.attname::text), string_agg(
        CASE WHEN fresh AND a.atttypid < 16384 THEN format('to_jsonb(%s)', a.value)
          ELSE format('CASE WHEN num_nulls(%1$s) = 0 THEN CASE livemessage.json_kind(pg_typeof(%1$s)) WHEN ''own'' THEN to_jsonb(%1$s)
            WHEN ''texts'' THEN to_jsonb(concat(%1$s)::text[]) ELSE to_jsonb(concat(%1$s)) END END', a.value) END, ', ')
      INTO names, expressions
      FROM (SELECT *, format('($1).%I', attname) AS value FROM pg_attribute) AS a
      WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped
        AND a.attname = ANY (fields || TG_ARGV[1 : TG_NARGS - 1])
        AND has_column_privilege(TG_RELID, a.attname::text, 'SELECT') IS NOT NULL;
      record := '{}';
      IF names IS NOT NULL THEN
        EXECUTE 'SELECT ARRAY[' || expressions || ']' INTO items USING item;
        FOR i IN 1 .. cardinality(names) LOOP
          record := record || jsonb_build_object(names[i], items[i]);
        END LOOP;
      END IF;
    END IF;

    FOR i IN 1 .. TG_NARGS - 1 LOOP
      IF record ? TG_ARGV[i] THEN
        data := data || jsonb_build_object(TG_ARGV[i], record -> TG_ARGV[i]);
      ELSE
        RAISE WARNING '%: there is no column %, published without it', place, quote_ident(TG_ARGV[i]);
      END IF;
    END LOOP;
    json := data::text;
    IF template IS NULL THEN
      code := 'no_channel';
      reason := 'the channel template is missing';
    END IF;
    FOREACH field IN ARRAY fields LOOP
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
  EXCEPTION
    WHEN OTHERS THEN
      code := 'bad_row';
      reason := format('the row can''t be published: %s', SQLERRM);
      target := template;
      json := NULL;
  END;

  IF code IS NULL THEN
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
    PERFORM livemessage.bury(place, target, code, reason, json, jsonb_build_object('trigger', TG_NAME,
      'table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', TG_OP, 'template', left(template, 1000)));
  END IF;
  RETURN coalesce(NEW, OLD);
END
$fn$;
`
