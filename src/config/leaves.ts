import { z } from 'zod'
import { MAX_TIMER_MS, parseDuration, parseSize } from './units.ts'
import { isProxy, isText, isUrl } from './values.ts'

/** Every key of an input, so that neither the type nor the schema can have one that the other lacks. */
export type Shape<T> = { [K in keyof Required<T>]: z.ZodType }

/** The longest that anybody waits for a client. */
export const MAX_WAIT_MS = 3_600_000

/** A value of its own kind: `accept` gives what it means, or undefined. The issue's message is what was expected. */
export function leaf<T>(expected: string, accept: (value: unknown) => T | undefined) {
  return z.unknown().transform((value, context): T => {
    const accepted = accept(value)
    if (accepted !== undefined) return accepted
    context.addIssue({ code: 'custom', message: expected, input: value })
    return z.NEVER
  })
}

export function choice<const T extends string>(...choices: T[]) {
  const list = choices.map((choice) => `'${choice}'`).join(', ')
  return leaf(`one of ${list}`, (value) => choices.find((choice) => choice === value))
}

export function flag() {
  return leaf('true or false', (value) => (typeof value === 'boolean' ? value : undefined))
}

export function text(expected: string) {
  return leaf(expected, (value) => (isText(value) ? value : undefined))
}

export function list(expected: string, isItem: (item: unknown) => item is string) {
  return leaf(`a list of ${expected}`, (value) =>
    Array.isArray(value) && value.every(isItem) ? value : undefined,
  )
}

export function url(expected: string, schemes: readonly string[]) {
  return leaf(expected, (value) => (isUrl(value, schemes) ? value : undefined))
}

export function count(least = 1, most = Number.MAX_SAFE_INTEGER) {
  const range = most === Number.MAX_SAFE_INTEGER ? `, ${least} or more` : ` from ${least} to ${most}`
  return leaf(`a whole number${range}`, (value) =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most
      ? value
      : undefined,
  )
}

export function duration(most = MAX_TIMER_MS) {
  const bound = most === MAX_TIMER_MS ? ' up to 24 days' : most === MAX_WAIT_MS ? ' up to an hour' : ''
  return leaf(`a duration such as '15s', '7d' or milliseconds, more than 0${bound}`, (value) => {
    const ms = parseDuration(value)
    return ms !== null && ms > 0 && ms <= most ? ms : undefined
  })
}

export function size() {
  return leaf("a size such as '64kb', '1mb' or bytes, more than 0 up to 1gb", (value) => {
    const bytes = parseSize(value)
    return bytes !== null && bytes > 0 && bytes <= 1024 ** 3 ? bytes : undefined
  })
}

/** NOTIFY names, one or several, as PostgreSQL has them: longer ones it would cut. */
export function notifyNames(value: unknown): string[] | undefined {
  const names: readonly unknown[] = Array.isArray(value) ? value : [value]
  const accepted = names.filter((name) => isText(name)).filter((name) => Buffer.byteLength(name) <= 63)
  return accepted.length === names.length ? [...new Set(accepted)] : undefined
}

export function isCallback(value: unknown): value is string {
  return isText(value) && /^[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*$/.test(value)
}

export function isEngineTransport(value: unknown): value is 'polling' | 'websocket' {
  return value === 'polling' || value === 'websocket'
}

export function isProxyText(value: unknown): string | undefined {
  return isProxy(value) ? value : undefined
}
