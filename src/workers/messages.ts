import type { Started } from '../daemon.ts'
import type { MetricSet } from '../ops/metric-set.ts'
import type { Fixed } from '../reload.ts'

/** The variable that tells a process that it is a worker: its first order says which. */
export const WORKER = 'LIVEMESSAGES_WORKER'

/** What the primary says to a worker. */
export type Order =
  /** The answer to `join`: which of the group it is, and what the group has in common. */
  | { readonly type: 'begin'; readonly worker: number; readonly fixed: Fixed }
  | { readonly type: 'reload'; readonly id: number }
  | { readonly type: 'stop'; readonly reason: 'restart' | 'shutdown' }
  | { readonly type: 'measure'; readonly id: number }
  /** The answer to `gather`. */
  | { readonly type: 'gathered'; readonly id: number; readonly sets: readonly MetricSet[] }

/** What a worker says to the primary. */
export type Report =
  /** It can hear now: what was said before is lost, for `node:cluster` listens before anybody else can. */
  | { readonly type: 'join' }
  | { readonly type: 'listening'; readonly started: Started }
  /** It could not start, and ends with `exitCode`. */
  | {
      readonly type: 'failed'
      readonly code: string
      readonly message: string
      readonly exitCode: number
    }
  /** The answer to `reload`; `refusal` is null when it was taken. */
  | { readonly type: 'reloaded'; readonly id: number; readonly refusal: string | null }
  /** The answer to `measure`. */
  | { readonly type: 'measured'; readonly id: number; readonly set: MetricSet }
  /** Asks for the numbers of all workers. */
  | { readonly type: 'gather'; readonly id: number }

const ORDERS: ReadonlySet<unknown> = new Set<Order['type']>([
  'begin',
  'reload',
  'stop',
  'measure',
  'gathered',
])
const REPORTS: ReadonlySet<unknown> = new Set<Report['type']>([
  'join',
  'listening',
  'failed',
  'reloaded',
  'measured',
  'gather',
])

/** Modules in a worker may use the same channel for what they like. Both ends are of one installation. */
export function isOrder(message: unknown): message is Order {
  return isOf(ORDERS, message)
}

export function isReport(message: unknown): message is Report {
  return isOf(REPORTS, message)
}

function isOf(types: ReadonlySet<unknown>, message: unknown): boolean {
  return typeof message === 'object' && message !== null && 'type' in message && types.has(message.type)
}
