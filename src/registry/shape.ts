import type { StandardSchemaV1 } from '@standard-schema/spec'
import { didYouMean, nearest } from '../config/near.ts'
import { MAX_TIMER_MS, parseDuration } from '../config/units.ts'
import { isRecord, isText } from '../config/values.ts'
import type { Migration, Migrations } from '../database/migration.ts'
import { KIND } from './define.ts'
import type { SenderDefinition } from './define.ts'
import type { LoadedAction, LoadedSender } from './registry.ts'

/** A function of a user's, whose signature nobody can check before it is called. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names the signature
export function isFunction<F extends (...args: never[]) => unknown>(value: unknown): value is F {
  return typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value))
}

type ActionParts = Pick<LoadedAction, 'input' | 'handle' | 'timeoutMs' | 'access'>
type SenderParts = Pick<LoadedSender, 'notify' | 'queue' | 'route' | 'format'>

/** An action's parts, or all that is wrong with it. A bare function is an action without a validator. */
export function readAction(value: unknown): ActionParts | readonly string[] {
  if (isFunction<ActionParts['handle']>(value))
    return { input: null, handle: value, timeoutMs: null, access: null }
  if (!isRecord(value)) return [`expected a function or defineAction({ handle }), got ${nameOf(value)}`]
  if (kindOf(value) === 'sender')
    return ['expected an action, got a sender (defineSender): senders stand under the key sender']
  const { input, handle, timeout, access } = value
  const wrong = misspelled(value, ['input', 'handle', 'timeout', 'access', 'migrations'])
  if (!isFunction<ActionParts['handle']>(handle))
    wrong.push(`handle: expected a function, got ${nameOf(handle)}`)
  if (input !== undefined && !isStandardSchema(input)) {
    wrong.push(`input: expected a Standard Schema validator (zod, valibot, arktype, …), got ${nameOf(input)}`)
  }
  const timeoutMs = timeout === undefined ? null : parseDuration(timeout)
  if (timeout !== undefined && (timeoutMs === null || timeoutMs === 0 || timeoutMs > MAX_TIMER_MS)) {
    wrong.push(
      `timeout: expected a duration such as '5s' or milliseconds, more than 0, got ${nameOf(timeout)}`,
    )
  }
  if (access !== undefined && access !== 'public' && access !== 'authenticated') {
    wrong.push(`access: expected 'public' or 'authenticated', got ${nameOf(access)}`)
    return wrong
  }
  if (wrong.length > 0 || !isFunction<ActionParts['handle']>(handle)) return wrong
  return {
    input: isStandardSchema(input) ? input : null,
    // called as a method, so that `this` is what the module's author sees there
    handle: (data, context) => handle.call(value, data, context),
    timeoutMs,
    access: access ?? null,
  }
}

/** A sender's parts, or all that is wrong with it. */
export function readSender(value: unknown, ownQueue: string): SenderParts | readonly string[] {
  if (!isRecord(value)) return [`expected defineSender({ route }), got ${nameOf(value)}`]
  if (kindOf(value) === 'action') return ['expected a sender, got an action (defineAction)']
  const { notify = [], queue = ownQueue, route, format } = value
  const wrong = misspelled(value, ['notify', 'queue', 'route', 'format', 'migrations'])
  const names: readonly unknown[] = Array.isArray(notify) ? notify : [notify]
  if (!names.every(isNotifyName)) {
    wrong.push('notify: expected NOTIFY names of 1 to 63 bytes (as PostgreSQL has them)')
  }
  if (!isText(queue) || Buffer.byteLength(queue) > 255) {
    wrong.push(`queue: expected a queue's name of at most 255 bytes, got ${nameOf(queue)}`)
  }
  if (!isFunction<SenderDefinition['route']>(route))
    wrong.push(`route: expected a function, got ${nameOf(route)}`)
  if (format !== undefined && !isFunction(format))
    wrong.push(`format: expected a function, got ${nameOf(format)}`)
  if (wrong.length > 0 || !isText(queue) || !isFunction<SenderDefinition['route']>(route)) return wrong
  return {
    notify: [...new Set(names.filter(isNotifyName))],
    queue,
    route: (notification, context) => route.call(value, notification, context),
    format: isFunction<NonNullable<SenderDefinition['format']>>(format)
      ? (notification, context) => format.call(value, notification, context)
      : null,
  }
}

/** The migrations that a definition brings, null where it brings none, or what is wrong with them. */
export function readMigrations(value: unknown): Migrations | null | readonly string[] {
  if (!isRecord(value) || value['migrations'] === undefined) return null
  const brought = value['migrations']
  if (!isRecord(brought) || !isText(brought['component']) || !Array.isArray(brought['migrations'])) {
    return [
      `migrations: expected { component, migrations: [{ version, name, sql }] }, got ${nameOf(brought)}`,
    ]
  }
  const migrations: Migration[] = []
  for (const [at, step] of brought['migrations'].entries()) {
    if (!isRecord(step) || step['version'] !== at + 1 || !isText(step['name']) || !isText(step['sql'])) {
      return [
        `migrations: expected { version: ${at + 1}, name, sql } at place ${at + 1}, got ${nameOf(step)}`,
      ]
    }
    migrations.push({ version: at + 1, name: step['name'], sql: step['sql'] })
  }
  return { component: brought['component'], migrations }
}

/** What came, in a word or two. */
export function nameOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return `'${value.slice(0, 40)}'`
  if (typeof value === 'function') return isFunction(value) ? 'a function' : 'a class'
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Promise) return 'a promise'
  if (!isRecord(value)) return `a ${typeof value}`
  const kind = kindOf(value)
  if (kind !== null) return kind === 'action' ? 'an action (defineAction)' : 'a sender (defineSender)'
  const keys = Object.keys(value)
  return keys.length === 0 ? 'an empty object' : `an object with ${keys.slice(0, 5).join(', ')}`
}

function kindOf(value: Readonly<Record<PropertyKey, unknown>>): 'action' | 'sender' | null {
  const kind = value[KIND]
  return kind === 'action' || kind === 'sender' ? kind : null
}

/** Other keys are the author's own business, except where one looks like a known one that is missing. */
function misspelled(value: Readonly<Record<PropertyKey, unknown>>, known: readonly string[]): string[] {
  const missing = known.filter((key) => value[key] === undefined)
  return Object.keys(value)
    .filter((key) => !known.includes(key))
    .map((key) => [key, nearest(key, missing)] as const)
    .filter(([, near]) => near !== null)
    .map(([key, near]) => `${key}: is no key here${didYouMean(near)}`)
}

function isStandardSchema(value: unknown): value is StandardSchemaV1 {
  // arktype's validators are functions
  const holder = typeof value === 'function' || isRecord(value) ? value : null
  if (holder === null || !('~standard' in holder)) return false
  const standard = holder['~standard']
  return isRecord(standard) && typeof standard['validate'] === 'function'
}

function isNotifyName(name: unknown): name is string {
  return isText(name) && Buffer.byteLength(name) <= 63
}
