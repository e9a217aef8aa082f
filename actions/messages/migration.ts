import type { Migrations } from 'livemessages'
import { grants, pushing } from '../push.ts'
import { TABLE } from './table.ts'

/**
 * Users' messages. Each new row is pushed to its recipient (see `push.ts`), and what becomes of it to the recipient's
 * other devices: `{id, read}` where it was read, `{id, read, deleted: true}` where it was deleted.
 */
export const messages: Migrations = {
  component: 'messages',
  migrations: [
    {
      version: 1,
      name: 'message',
      sql: TABLE,
    },
    {
      version: 2,
      name: 'push',
      sql: `
DROP TRIGGER notify ON livemessage_messages.message;
DROP FUNCTION livemessage_messages.notify();

-- Keys of messages that were sent with one. Not a column of theirs: a message that is read and deleted must not come
-- back when the broker delivers it again.
CREATE TABLE livemessage_messages.key (
  key text COLLATE "C" PRIMARY KEY,
  digest bytea NOT NULL,
  message bigint,
  time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX key_time ON livemessage_messages.key (time);
${pushing('messages', 'to_user', ['text', 'subject', 'from_user'])}
CREATE FUNCTION livemessage_messages.pushed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM livemessage_messages.push(OLD.to_user, jsonb_build_object('id', OLD.id, 'read', OLD.read, 'deleted', true));
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF NEW.to_user = OLD.to_user THEN
      PERFORM livemessage_messages.push(NEW.to_user, jsonb_build_object('id', NEW.id, 'read', NEW.read));
      RETURN NULL;
    END IF;
    -- It is another's from now on.
    PERFORM livemessage_messages.push(OLD.to_user, jsonb_build_object('id', OLD.id, 'read', OLD.read, 'deleted', true));
  END IF;
  PERFORM livemessage_messages.push(NEW.to_user, jsonb_build_object(
    'id', NEW.id,
    'from_user', NEW.from_user,
    'subject', NEW.subject,
    'text', NEW.text,
    'date', livemessage_messages.ms(NEW.date),
    'read', NEW.read
  ));
  RETURN NULL;
END
$fn$;

CREATE TRIGGER pushed AFTER INSERT OR DELETE ON livemessage_messages.message
  FOR EACH ROW EXECUTE FUNCTION livemessage_messages.pushed();
-- What is read again is no news.
CREATE TRIGGER changed AFTER UPDATE OF read, to_user ON livemessage_messages.message
  FOR EACH ROW WHEN (OLD.read <> NEW.read OR OLD.to_user <> NEW.to_user)
  EXECUTE FUNCTION livemessage_messages.pushed();

CREATE FUNCTION livemessage_messages.send(
  to_user text, from_user text DEFAULT NULL, subject text DEFAULT '', text text DEFAULT '', key text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  known record;
  content bytea;
  sent bigint;
BEGIN
  IF send.key IS NOT NULL THEN
    content := sha256(convert_to(jsonb_build_array(send.to_user, send.from_user, send.subject, send.text)::text, 'UTF8'));
    -- More than one comes: none stay.
    DELETE FROM livemessage_messages.key AS k WHERE k.key IN (
      SELECT o.key FROM livemessage_messages.key AS o WHERE o.time < now() - interval '1 day'
      ORDER BY o.time LIMIT 10 FOR UPDATE SKIP LOCKED
    );
    -- Waits for another transaction that has just written the same.
    INSERT INTO livemessage_messages.key (key, digest) VALUES (send.key, content) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      SELECT k.digest, k.message INTO known FROM livemessage_messages.key AS k WHERE k.key = send.key;
      IF known.digest = content THEN RETURN known.message; END IF;
      RAISE EXCEPTION 'livemessage_messages.send: another message came with this key' USING ERRCODE = 'unique_violation';
    END IF;
  END IF;
  INSERT INTO livemessage_messages.message (to_user, from_user, subject, text)
  VALUES (send.to_user, send.from_user, coalesce(send.subject, ''), coalesce(send.text, ''))
  RETURNING id INTO sent;
  IF send.key IS NOT NULL THEN
    UPDATE livemessage_messages.key AS k SET message = sent WHERE k.key = send.key;
  END IF;
  RETURN sent;
END
$fn$;

COMMENT ON FUNCTION livemessage_messages.send(text, text, text, text, text) IS
  'Writes a message, once a key, and pushes it when this transaction commits; returns its id.';

REVOKE ALL ON FUNCTION livemessage_messages.pushed(), livemessage_messages.send(text, text, text, text, text) FROM PUBLIC;

-- Who may publish may write to users. An identity column needs no right to its sequence; and no id may be given, where a
-- later message would find it taken.
${grants(`
    REVOKE INSERT ON livemessage_messages.message FROM livemessage_publisher;
    GRANT INSERT (to_user, from_user, subject, text, date, read) ON livemessage_messages.message TO livemessage_publisher;
    GRANT EXECUTE ON FUNCTION livemessage_messages.send(text, text, text, text, text) TO livemessage_publisher;`)}
`,
    },
  ],
}
