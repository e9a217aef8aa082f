const DURATIONS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
const SIZES = {
  b: 1,
  kb: 1024,
  mb: 1024 ** 2,
  gb: 1024 ** 3,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
} as const

/** Milliseconds, or a number with a unit: `'250ms'`, `'15s'`, `'5m'`, `'1.5h'`, `'7d'`, `'2w'`. */
export type Duration = number | string

/** Bytes, or a number with a unit: `'512b'`, `'64kb'` (of 1,024 bytes), `'1mb'`, `'1gb'`. */
export type Size = number | string

/** The longest delay that a timer of Node takes: longer ones would fire at once. 24.8 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** A duration in whole milliseconds; null for what is none. */
export function parseDuration(value: unknown): number | null {
  return parse(value, DURATIONS)
}

/** A size in whole bytes; null for what is none. */
export function parseSize(value: unknown): number | null {
  return parse(value, SIZES)
}

const AMOUNT = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/

function parse(value: unknown, units: Readonly<Record<string, number>>): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null
  if (typeof value !== 'string') return null
  const [, amount, unit] = AMOUNT.exec(value.trim().toLowerCase()) ?? []
  if (amount === undefined || unit === undefined || !Object.hasOwn(units, unit)) return null
  const result = Math.round(Number(amount) * (units[unit] ?? Number.NaN))
  return Number.isSafeInteger(result) ? result : null
}
