import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Access, Limits } from '../config/config.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { writeJson } from '../protocol/json.ts'
import { messageOf } from '../errors.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Run, type Services } from './context.ts'
import { pending, withDeadline } from './deadline.ts'
import type { Connection } from './define.ts'
import type { LoadedAction, Registry } from './registry.ts'

/** One call of an action. */
export interface Call {
  /** `<subsystem>.<action>`. */
  readonly name: string
  readonly data: unknown
  /** Null for a call over HTTP. */
  readonly connection: Connection | null
  /** Who calls, where there is no connection. @default nobody */
  readonly user?: string | null
}

/** The rules a call runs under. */
export interface DispatchRules {
  readonly registry: Registry
  readonly limits: Pick<Limits, 'callMs'>
  accessOf(subsystem: string): Access
}

/**
 * Runs the action of a call. Returns the result as JSON text: at once when the action returned at once.
 * @throws {ClientError} as told to the client; whatever else an action throws becomes `internal`
 */
export function dispatch(call: Call, rules: DispatchRules, services: Services): MaybePromise<string> {
  const action = rules.registry.actions.get(call.name)
  if (action === undefined) throw unknownAction(call.name)
  checkAccess(action, rules, call)
  const run = new Run(services, action.subsystem, action.name, call.connection, call.user)
  const deadlineMs = action.timeoutMs ?? rules.limits.callMs
  const hook = rules.registry.hooks.call
  let result: unknown
  let work: Promise<unknown> | null
  try {
    if (hook === null && action.input === null) result = action.handle(call.data, run)
    else result = prepareAndHandle(call, action, rules, run)
    work = pending(result)
  } catch (error) {
    run.end()
    throw toldToClient(error, action, services)
  }
  if (work === null) {
    run.end()
    return write(result, action, services)
  }
  return withDeadline(work, deadlineMs, call.name, {
    onTimeout: (error) => {
      run.abort(error)
      services.log.warn({ subsystem: action.subsystem, action: action.name, deadlineMs }, 'action timed out')
    },
    onLate: (error) => reportLate(error, action, services),
  }).then(
    (value) => {
      run.end()
      return write(value, action, services)
    },
    (error: unknown) => {
      run.end()
      throw toldToClient(error, action, services)
    },
  )
}

function prepareAndHandle(
  call: Call,
  action: LoadedAction,
  rules: DispatchRules,
  run: Run,
): MaybePromise<unknown> {
  const hook = rules.registry.hooks.call
  const asked = hook?.({ subsystem: action.subsystem, action: action.name, data: call.data }, run)
  const allowed = pending(asked)
  if (allowed !== null) return allowed.then(() => validateAndHandle(call.data, action, run))
  return validateAndHandle(call.data, action, run)
}

function validateAndHandle(data: unknown, action: LoadedAction, run: Run): MaybePromise<unknown> {
  run.throwIfAborted()
  if (action.input === null) return action.handle(data, run)
  const verdict = action.input['~standard'].validate(data)
  const judged = pending(verdict)
  if (judged !== null) return judged.then((known) => handleAccepted(known, action, run))
  return handleAccepted(verdict as StandardSchemaV1.Result<unknown>, action, run)
}

function handleAccepted(
  verdict: StandardSchemaV1.Result<unknown>,
  action: LoadedAction,
  run: Run,
): MaybePromise<unknown> {
  run.throwIfAborted()
  return action.handle(accepted(verdict, action), run)
}

function accepted(verdict: StandardSchemaV1.Result<unknown>, action: LoadedAction): unknown {
  if (verdict.issues === undefined) return verdict.value
  const details = verdict.issues.map((issue) => ({
    path: (issue.path ?? []).map((step) => (typeof step === 'object' ? String(step.key) : String(step))),
    message: issue.message,
  }))
  throw new ClientError('invalid_input', `${action.subsystem}.${action.name}: the data is not valid`, details)
}

function checkAccess(action: LoadedAction, rules: DispatchRules, { connection, user }: Call): void {
  if ((connection === null ? (user ?? null) : connection.user) !== null) return
  const access = action.access ?? rules.accessOf(action.subsystem)
  if (access === 'public') return
  throw new ClientError('unauthenticated', `${action.subsystem}.${action.name} is for authenticated users`)
}

function write(value: unknown, action: LoadedAction, services: Services): string {
  try {
    return writeJson(value)
  } catch (error) {
    throw toldToClient(new TypeError(`the result can't be JSON: ${messageOf(error)}`), action, services)
  }
}

/** A ClientError goes to the client as it is; of anything else it learns nothing but that it happened. */
function toldToClient(error: unknown, action: LoadedAction, services: Services): ClientError {
  if (isClientError(error)) return error
  services.log.error(
    { subsystem: action.subsystem, action: action.name, path: action.path, err: error },
    'action failed',
  )
  return new ClientError('internal', `${action.subsystem}.${action.name} failed`)
}

function reportLate(error: unknown, action: LoadedAction, services: Services): void {
  // It heeded its signal, or never came to run: the deadline was logged already.
  if (isClientError(error) && error.code === 'timeout') return
  services.log.warn(
    { subsystem: action.subsystem, action: action.name, err: error },
    'action failed after its deadline',
  )
}

function unknownAction(name: string): ClientError {
  return new ClientError('unknown_action', `'${name.slice(0, 129)}' is no action`)
}
