/** The table as 0.1.0 made it; what pushed its rows then goes with the next version. */
export const TABLE = `
CREATE SCHEMA livemessage_messages;

CREATE TABLE livemessage_messages.message (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  to_user text NOT NULL,
  from_user text,
  subject text NOT NULL DEFAULT '',
  text text NOT NULL DEFAULT '',
  date timestamptz NOT NULL DEFAULT now(),
  read boolean NOT NULL DEFAULT false
);

-- A recipient's newest first, and how many are unread.
CREATE INDEX message_newest ON livemessage_messages.message (to_user, id DESC);
CREATE INDEX message_unread ON livemessage_messages.message (to_user) WHERE NOT read;

CREATE FUNCTION livemessage_messages.notify() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  message jsonb := jsonb_build_object(
    'id', NEW.id,
    'to_user', NEW.to_user,
    'from_user', NEW.from_user,
    'subject', NEW.subject,
    'text', NEW.text,
    -- Milliseconds since 1970; "infinity" has none, and must not fail the insert.
    'date', CASE WHEN isfinite(NEW.date) THEN round(extract(epoch FROM NEW.date)::numeric * 1000)::bigint END,
    'read', NEW.read
  );
  field text;
BEGIN
  -- Columns go one after the other until the rest fits. Bytes count, and PostgreSQL's limit is 7,999.
  FOREACH field IN ARRAY ARRAY['text', 'subject', 'from_user', 'to_user'] LOOP
    EXIT WHEN octet_length(message::text) < 8000;
    message := (message - field) || '{"truncated":true}';
  END LOOP;
  PERFORM pg_notify('livemessage_messages', message::text);
  RETURN NULL;
END
$fn$;

CREATE TRIGGER notify AFTER INSERT ON livemessage_messages.message
  FOR EACH ROW EXECUTE FUNCTION livemessage_messages.notify();

-- Who may publish may write to users. An identity column needs no right to its sequence.
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'livemessage_publisher') THEN
    GRANT USAGE ON SCHEMA livemessage_messages TO livemessage_publisher;
    GRANT INSERT ON livemessage_messages.message TO livemessage_publisher;
  END IF;
END
$do$;
`
