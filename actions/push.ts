/**
 * SQL by which the rows of `livemessage_<subsystem>` reach their users' channels: `channel(user_id)` names a user's
 * channel, `push(user_id, record)` publishes to it. Where the subsystem is journaled it does so by `livemessage.publish`,
 * in the transaction of whoever wrote: nothing is lost while no daemon is there. Else by NOTIFY
 * `livemessage_<subsystem>`, which the `sender` module hears.
 *
 * @param owner the column that names the user: what the NOTIFY tells the sender
 * @param spare columns that are left out, one after the other, of a record that is too long; `truncated` is true then
 */
export function pushing(subsystem: string, owner: string, spare: readonly string[]): string {
  const schema = `livemessage_${subsystem}`
  const list = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ')
  return `
CREATE FUNCTION ${schema}.channel(user_id text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT '${subsystem}:' || livemessage.encode_rest(user_id) $fn$;

-- Milliseconds since 1970; "infinity" has none, and must not fail who writes it.
CREATE FUNCTION ${schema}.ms(moment timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $fn$ SELECT CASE WHEN isfinite(moment) THEN round(extract(epoch FROM moment)::numeric * 1000)::bigint END $fn$;

CREATE FUNCTION ${schema}.push(user_id text, record jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  -- 'off': nothing is pushed, for work on very many rows. 'sender': always by NOTIFY, for a sender of one's own.
  mode text := coalesce(current_setting('${schema}.push', true), '');
  channel text;
  line jsonb := record;
  most int;
  whole text;
  field text;
BEGIN
  IF mode = 'off' THEN RETURN; END IF;
  channel := ${schema}.channel(push.user_id);
  IF mode <> 'sender' THEN
    -- Not most_bytes, which is -1 where the publication goes into an outbox, or the database into its channel.
    SELECT coalesce(s.max_bytes, m.max_bytes),
      CASE WHEN s.per_database AND m.name IS NOT NULL THEN livemessage.in_database(channel, m.name) ELSE channel END
    INTO most, whole
    FROM livemessage.subsystem AS s CROSS JOIN livemessage.meta AS m
    WHERE s.name = split_part(channel, ':', 1) AND s.journaled;
    IF FOUND THEN
      FOREACH field IN ARRAY ARRAY[${list(spare)}] LOOP
        EXIT WHEN octet_length(line::text) <= most;
        line := (line - field) || '{"truncated":true}';
      END LOOP;
      -- Never an error: it would be the application's insert that fails. An id without a channel nobody can subscribe to.
      IF livemessage.is_channel(whole) AND octet_length(line::text) <= most THEN
        PERFORM livemessage.publish(channel, line);
      END IF;
      RETURN;
    END IF;
  END IF;
  line := line || jsonb_build_object('${owner}', push.user_id);
  -- Columns go one after the other until the rest fits. Bytes count, and PostgreSQL's limit is 7,999.
  FOREACH field IN ARRAY ARRAY[${list([...spare, owner])}] LOOP
    EXIT WHEN octet_length(line::text) < 8000;
    line := (line - field) || '{"truncated":true}';
  END LOOP;
  PERFORM pg_notify('${schema}', line::text);
END
$fn$;

REVOKE ALL ON FUNCTION ${schema}.push(text, jsonb) FROM PUBLIC;
`
}

/** SQL that gives those who publish the rights to write to users, where the role is there. */
export function grants(statements: string): string {
  return `
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'livemessage_publisher') THEN
${statements}
  END IF;
END
$do$;
`
}
