import type { Migrations } from 'livemessages'
import { grants, pushing } from '../push.ts'
import { FUNCTIONS } from './functions.ts'

/**
 * Users' tasks. At the end of a transaction each task that it has changed is pushed once, as it is then; see `push.ts`.
 */
export const tasks: Migrations = {
  component: 'tasks',
  migrations: [
    {
      version: 1,
      name: 'task',
      sql: `
CREATE SCHEMA livemessage_tasks;

CREATE TABLE livemessage_tasks.task (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id text NOT NULL CHECK (user_id <> ''),
  -- The application's own name for it: of those who can't be told the id (AMQP, HTTP), and against creating it twice.
  ref text UNIQUE,
  title text NOT NULL DEFAULT '',
  status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
  progress numeric(5, 2) NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
  text text NOT NULL DEFAULT '',
  result jsonb,
  created timestamptz NOT NULL DEFAULT now(),
  updated timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Grows with each change.
  version bigint NOT NULL DEFAULT 0
  -- Room for the next version of a row beside it: no column that changes often is indexed.
) WITH (fillfactor = 60);

CREATE INDEX task_newest ON livemessage_tasks.task (user_id, id DESC);
CREATE INDEX task_running ON livemessage_tasks.task (user_id) WHERE status = 'running';
${pushing('tasks', 'user_id', ['result', 'text', 'title'])}
CREATE FUNCTION livemessage_tasks.touched() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  NEW.version := OLD.version + 1;
  NEW.updated := clock_timestamp();
  RETURN NEW;
END
$fn$;

CREATE TRIGGER touched BEFORE UPDATE ON livemessage_tasks.task
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION livemessage_tasks.touched();

CREATE FUNCTION livemessage_tasks.pushed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  task livemessage_tasks.task;
  moved boolean := false;
BEGIN
  IF TG_OP = 'UPDATE' THEN moved := NEW.user_id <> OLD.user_id; END IF;
  IF TG_OP = 'DELETE' OR moved THEN
    PERFORM livemessage_tasks.push(OLD.user_id, jsonb_build_object('id', OLD.id, 'deleted', true));
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;
  -- One event for each change is queued until the commit: the last one of a task pushes it.
  SELECT * INTO task FROM livemessage_tasks.task AS t WHERE t.id = NEW.id AND t.version = NEW.version;
  IF NOT FOUND THEN RETURN NULL; END IF;
  PERFORM livemessage_tasks.push(task.user_id, jsonb_build_object(
    'id', task.id,
    'title', task.title,
    'status', task.status,
    'progress', task.progress::float8,
    'text', task.text,
    'result', task.result,
    'created', livemessage_tasks.ms(task.created),
    'updated', livemessage_tasks.ms(task.updated)
  ));
  RETURN NULL;
END
$fn$;

CREATE CONSTRAINT TRIGGER pushed AFTER INSERT OR DELETE ON livemessage_tasks.task
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION livemessage_tasks.pushed();
CREATE CONSTRAINT TRIGGER changed AFTER UPDATE ON livemessage_tasks.task
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.version <> NEW.version)
  EXECUTE FUNCTION livemessage_tasks.pushed();
${FUNCTIONS}
REVOKE ALL ON FUNCTION livemessage_tasks.touched(), livemessage_tasks.pushed() FROM PUBLIC;
${grants(`
    GRANT EXECUTE ON FUNCTION livemessage.task_create(text, text, text, text), livemessage.task_id(text),
      livemessage.task_progress(bigint, numeric, text), livemessage.task_done(bigint, jsonb, text),
      livemessage.task_fail(bigint, text), livemessage.task_cancel(bigint), livemessage.task_restart(bigint)
      TO livemessage_publisher;`)}
`,
    },
  ],
}
