/**
 * In a schema of the package's own. A later version adds a step behind these, and never changes one that was
 * published: it has run already.
 * @type {import('livemessages').Migrations}
 */
export const tables = {
  component: 'livemessages-notes',
  migrations: [
    {
      version: 1,
      name: 'note',
      sql: `
CREATE SCHEMA livemessages_notes;
CREATE TABLE livemessages_notes.note (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner text NOT NULL,
  text text NOT NULL
);
CREATE FUNCTION livemessages_notes.tell() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
BEGIN
  PERFORM pg_notify('livemessages_notes', json_build_object('id', NEW.id, 'owner', NEW.owner)::text);
  RETURN NULL;
END
$fn$;
CREATE TRIGGER tell AFTER INSERT ON livemessages_notes.note
  FOR EACH ROW EXECUTE FUNCTION livemessages_notes.tell();`,
    },
  ],
}
