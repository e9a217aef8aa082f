/** Who may call what; the first epoch. */
export const RIGHTS = `
INSERT INTO livemessage.meta (epoch, compatible_since) VALUES ('', 2);
SELECT livemessage.new_epoch('migration');

REVOKE ALL ON ALL TABLES IN SCHEMA livemessage FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA livemessage FROM PUBLIC;

COMMENT ON FUNCTION livemessage.publish_many(jsonb) IS
  'Publishes [{"channel":…,"data":…},…] at adjacent positions when this transaction commits.';
COMMENT ON FUNCTION livemessage.enqueue(text, jsonb) IS
  'Publishes soon after this transaction has committed; for very many a second: it takes no lock and sends no NOTIFY.';

DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'livemessage_publisher') THEN
    GRANT EXECUTE ON FUNCTION livemessage.publish(text, jsonb), livemessage.publish_many(jsonb),
      livemessage.enqueue(text, jsonb), livemessage.publish_row() TO livemessage_publisher;
  END IF;
END
$do$;
`
