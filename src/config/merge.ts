import { keyOf, valueAt } from './problems.ts'
import type { Setting } from './settings.ts'
import { isRecord } from './values.ts'

type Path = readonly PropertyKey[]

/** Sections that `false` turns off, and the keys that turn them on again. */
const SWITCHED: Readonly<Record<string, readonly string[]>> = { postgres: ['url'], broker: ['url', 'host'] }

/** What a setting makes pointless in the layers below it: another server's details. */
const DISPLACED: Readonly<Record<string, readonly Path[]>> = {
  'postgres.url': [
    ['postgres', 'embedded'],
    ['postgres', 'directory'],
    ['postgres', 'listenUrl'],
  ],
}

/** The config with the settings above and below it, and where each value came from that is not the config's. */
export function merge(
  config: unknown,
  above: readonly Setting[],
  below: readonly Setting[],
): { merged: unknown; origin: (path: Path) => string | null } {
  const origins = new Map<string, string>()
  let merged = expand(config)
  for (const { path, value, from } of above) {
    const key = keyOf(path)
    for (const displaced of DISPLACED[key] ?? []) merged = without(merged, displaced)
    merged = put(merged, path, value)
    origins.set(key, from)
  }
  for (const { path, value, from } of below) {
    if (valueAt(merged, path) !== undefined || valueAt(merged, path.slice(0, 1)) === false) continue
    merged = put(merged, path, value)
    origins.set(keyOf(path), from)
  }
  return { merged, origin: (path) => origins.get(keyOf(path)) ?? null }
}

/** A copy without what stands at the path; a list loses all of itself with any of its items. */
export function without(value: unknown, path: Path): unknown {
  const [key, ...rest] = path
  if (key === undefined || !isRecord(value)) return undefined
  const inner = Object.hasOwn(value, key) ? without(value[key], rest) : undefined
  const copy = { ...value }
  if (inner === undefined) delete copy[key]
  else copy[key] = inner
  return copy
}

function expand(config: unknown): unknown {
  return isRecord(config) && config['postgres'] === 'embedded'
    ? { ...config, postgres: { embedded: true } }
    : config
}

function put(target: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  // what is wrong below stays, so that it is reported
  if (target !== undefined && !isRecord(target)) return target
  const current = target?.[key]
  const isOff = current === false && SWITCHED[key] !== undefined
  if (isOff && !SWITCHED[key]?.includes(rest[0] ?? '')) return target
  return { ...target, [key]: put(isOff ? undefined : current, rest, value) }
}
