import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Access, Limits } from '../config/config.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { writeJson } from '../protocol/json.ts'
import { messageOf } from '../errors.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Run, type Services } from './context.ts'
import { pending, withDeadline } from './deadline.ts'
import type { CallOptions, Connection } from './define.ts'
import type { LoadedAction, Registry } from './registry.ts'
import type { Turns } from './watch.ts'

/** One call of an action. */
export interface Call {
  /** `<subsystem>.<action>`. */
  readonly name: string
  readonly data: unknown
  /** Null for a call over HTTP. */
  readonly connection: Connection | null
  /** Who calls, where there is no connection. @default nobody */
  readonly user?: string | null
  /** Whose user it is, where there is no connection; null: the home one's. @default null */
  readonly database?: string | null
}

/** The rules a call runs under. */
export interface DispatchRules {
  readonly registry: Registry
  readonly limits: Pick<Limits, 'callMs' | 'replyBytes'>
  accessOf(subsystem: string): Access
}

/** Actions that call one another, at most. */
const MAX_DEPTH = 16

/**
 * Runs the action of a call. Returns the result as JSON text: at once when the action returned at once.
 * @throws {ClientError} as told to the client; whatever else an action throws becomes `internal`
 */
export function dispatch(call: Call, rules: DispatchRules, services: Services): MaybePromise<string> {
  return perform(call, rules, services, 0, Infinity, write)
}

/**
 * Runs an action for another module, whose user and connection it has, and whose deadline. Resolves with what it returned.
 * @throws {ClientError} as `dispatch`; limit_exceeded
 * @throws {TypeError} for a name that is none, and for `as` where there is a user already
 */
export async function callWithin(
  outer: Run,
  name: string,
  data: unknown,
  { as }: CallOptions,
  rules: DispatchRules,
  services: Services,
): Promise<unknown> {
  if (typeof name !== 'string')
    throw new TypeError(`call: expected '<subsystem>.<action>', got ${typeof name}`)
  if (as !== undefined && (typeof as !== 'string' || outer.connection !== null || outer.user !== null)) {
    throw new TypeError('call: `as` is for what runs for nobody, and expects the id of a user')
  }
  if (outer.depth === MAX_DEPTH) {
    throw new ClientError('limit_exceeded', `${name}: ${MAX_DEPTH} actions called one another already`)
  }
  const leftMs = outer.ended ? Infinity : Math.max(0, Math.ceil(outer.deadline - performance.now()))
  const { connection, database } = outer
  const call = { name, data, connection, user: as ?? outer.user, database }
  return perform(call, rules, services, outer.depth + 1, leftMs, asItIs)
}

/** What is made of a result. */
type Finish<T> = (value: unknown, action: LoadedAction, rules: DispatchRules, services: Services) => T

function perform<T>(
  call: Call,
  rules: DispatchRules,
  services: Services,
  depth: number,
  mostMs: number,
  finish: Finish<T>,
): MaybePromise<T> {
  const action = rules.registry.actions.get(call.name)
  if (action === undefined) throw unknownAction(call.name)
  checkAccess(action, rules, call)
  const { turns } = services
  let began = performance.now()
  const ownMs = action.timeoutMs ?? rules.limits.callMs
  const deadlineMs = mostMs < ownMs ? mostMs : ownMs
  const deadline = began + deadlineMs
  const run = new Run(
    services,
    action.subsystem,
    action.name,
    call.connection,
    call.user,
    deadline,
    depth,
    call.database,
  )
  let result: unknown
  let work: Promise<unknown> | null
  try {
    if (rules.registry.hooks.call === null && action.input === null) result = action.handle(call.data, run)
    else result = prepareAndHandle(call, action, rules, run, turns)
    work = pending(result)
    if (work === null) {
      run.end()
      return finish(result, action, rules, services)
    }
  } catch (error) {
    run.end()
    throw toldToClient(error, action, services)
  } finally {
    turns.ran(call.name, began)
  }
  turns.wait(run)
  return withDeadline(work, deadlineMs, call.name, {
    onTimeout: (error) => {
      run.abort(error)
      services.log.warn({ subsystem: action.subsystem, action: action.name, deadlineMs }, 'action timed out')
    },
    onLate: (error) => reportLate(error, action, services),
  }).then(
    (value) => {
      run.end()
      turns.done(run)
      began = performance.now()
      try {
        return finish(value, action, rules, services)
      } finally {
        turns.ran(call.name, began)
      }
    },
    (error: unknown) => {
      run.end()
      turns.done(run)
      throw toldToClient(error, action, services)
    },
  )
}

function prepareAndHandle(
  call: Call,
  action: LoadedAction,
  rules: DispatchRules,
  run: Run,
  turns: Turns,
): MaybePromise<unknown> {
  const hook = rules.registry.hooks.call
  if (hook === null) return validateAndHandle(call.data, action, run)
  const began = performance.now()
  let allowed: Promise<void> | null
  try {
    allowed = pending(hook({ subsystem: action.subsystem, action: action.name, data: call.data }, run))
  } finally {
    turns.ran('hooks.call', began)
  }
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

function asItIs(value: unknown): unknown {
  return value
}

function write(value: unknown, action: LoadedAction, rules: DispatchRules, services: Services): string {
  let json: string
  try {
    json = writeJson(value)
  } catch (error) {
    throw toldToClient(new TypeError(`the result can't be JSON: ${messageOf(error)}`), action, services)
  }
  const most = rules.limits.replyBytes
  if (json.length * 3 > most && Buffer.byteLength(json) > most) throw tooLarge(json, most, action, services)
  return json
}

function tooLarge(json: string, most: number, action: LoadedAction, { log }: Services): ClientError {
  const { subsystem, name, path } = action
  log.error({ subsystem, action: name, path, bytes: Buffer.byteLength(json) }, 'the result is too large')
  return new ClientError(
    'too_large',
    `the result of ${subsystem}.${name} is over ${most} bytes: ask for less`,
  )
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
    { subsystem: action.subsystem, action: action.name, path: action.path, err: error },
    'action failed after its deadline',
  )
}

function unknownAction(name: string): ClientError {
  return new ClientError('unknown_action', `'${name.slice(0, 129)}' is no action`)
}
