/**
 * SQL that applications call, in their own transactions. All but `task_create` and `task_id` answer whether the task is
 * as it was told to be: false where there is none, or where it has ended otherwise: whoever works on it may stop.
 */
export const FUNCTIONS = `
CREATE FUNCTION livemessage.task_create(user_id text, title text, text text DEFAULT '', ref text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  created bigint;
BEGIN
  INSERT INTO livemessage_tasks.task (user_id, title, text, ref)
  VALUES (task_create.user_id, task_create.title, coalesce(task_create.text, ''), task_create.ref)
  ON CONFLICT ON CONSTRAINT task_ref_key DO NOTHING
  RETURNING id INTO created;
  IF created IS NULL THEN
    SELECT t.id INTO created FROM livemessage_tasks.task AS t
    WHERE t.ref = task_create.ref AND t.user_id = task_create.user_id;
    IF created IS NULL THEN
      RAISE EXCEPTION 'livemessage.task_create: another user''s task has this ref' USING ERRCODE = 'unique_violation';
    END IF;
  END IF;
  RETURN created;
END
$fn$;

CREATE FUNCTION livemessage.task_id(ref text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT t.id FROM livemessage_tasks.task AS t WHERE t.ref = task_id.ref $fn$;

CREATE FUNCTION livemessage.task_progress(id bigint, percent numeric, text text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  rounded numeric := round(percent, 2);
BEGIN
  -- NaN is more than any number.
  IF percent < 0 OR percent > 100 THEN
    RAISE EXCEPTION 'livemessage.task_progress: % is no percentage', percent USING
      ERRCODE = 'numeric_value_out_of_range',
      HINT = 'From 0 to 100, or null to leave it as it is.';
  END IF;
  -- What is behind what is known came late: nothing of it is taken. What changes nothing is not written.
  UPDATE livemessage_tasks.task AS t
  SET status = 'running', progress = coalesce(rounded, t.progress), text = coalesce(task_progress.text, t.text)
  WHERE t.id = task_progress.id AND t.status IN ('queued', 'running') AND t.progress <= coalesce(rounded, t.progress)
    AND (t.status = 'queued' OR t.progress < rounded OR t.text <> task_progress.text);
  IF FOUND THEN RETURN true; END IF;
  RETURN EXISTS (
    SELECT FROM livemessage_tasks.task AS t WHERE t.id = task_progress.id AND t.status IN ('queued', 'running')
  );
END
$fn$;

CREATE FUNCTION livemessage_tasks.finish(id bigint, status text, result jsonb, text text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  UPDATE livemessage_tasks.task AS t
  SET status = finish.status, result = coalesce(finish.result, t.result), text = coalesce(finish.text, t.text),
    progress = CASE WHEN finish.status = 'done' THEN 100 ELSE t.progress END
  WHERE t.id = finish.id AND t.status IN ('queued', 'running');
  IF FOUND THEN RETURN true; END IF;
  RETURN EXISTS (SELECT FROM livemessage_tasks.task AS t WHERE t.id = finish.id AND t.status = finish.status);
END
$fn$;

CREATE FUNCTION livemessage.task_done(id bigint, result jsonb DEFAULT NULL, text text DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT livemessage_tasks.finish(id, 'done', result, text) $fn$;

CREATE FUNCTION livemessage.task_fail(id bigint, text text DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT livemessage_tasks.finish(id, 'failed', NULL, text) $fn$;

CREATE FUNCTION livemessage.task_cancel(id bigint) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$ SELECT livemessage_tasks.finish(id, 'cancelled', NULL, NULL) $fn$;

CREATE FUNCTION livemessage.task_restart(id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $fn$
BEGIN
  UPDATE livemessage_tasks.task AS t SET status = 'queued', progress = 0, text = '', result = NULL
  WHERE t.id = task_restart.id;
  RETURN FOUND;
END
$fn$;

COMMENT ON FUNCTION livemessage.task_create(text, text, text, text) IS
  'Makes a task of a user, queued; returns its id. With a ref that there is already: that one''s.';
COMMENT ON FUNCTION livemessage.task_id(text) IS 'The id of the task that was created with this ref.';
COMMENT ON FUNCTION livemessage.task_progress(bigint, numeric, text) IS
  'It is running, and so far: 0 to 100, never back. False: there is no such task, or it has ended; stop working on it.';
COMMENT ON FUNCTION livemessage.task_done(bigint, jsonb, text) IS 'It is done, 100 percent; with its result.';
COMMENT ON FUNCTION livemessage.task_fail(bigint, text) IS 'It has failed, and why.';
COMMENT ON FUNCTION livemessage.task_cancel(bigint) IS 'Nobody wants it any more.';
COMMENT ON FUNCTION livemessage.task_restart(bigint) IS 'It begins anew: queued, at 0, whatever became of it.';

REVOKE ALL ON FUNCTION livemessage.task_create(text, text, text, text), livemessage.task_id(text),
  livemessage.task_progress(bigint, numeric, text), livemessage.task_done(bigint, jsonb, text),
  livemessage.task_fail(bigint, text), livemessage.task_cancel(bigint), livemessage.task_restart(bigint),
  livemessage_tasks.finish(bigint, text, jsonb, text) FROM PUBLIC;
`
