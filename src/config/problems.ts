import type { z } from 'zod'
import type { Problem } from '../errors.ts'
import { didYouMean, nearest } from './near.ts'
import { keysAt } from './schema.ts'
import { isRecord, redact } from './values.ts'

type Path = readonly PropertyKey[]

/** Elements of a list that a problem shows. */
const MAX_SHOWN = 8

/** What a problem was about, beside its text. */
export interface Located {
  readonly path: Path
  readonly problem: Problem
}

/**
 * The validator's issues as problems.
 * @param input what was validated
 * @param origin where a value came from when not from the config itself, e.g. `LIVEMESSAGES_PORT`
 */
export function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  input: unknown,
  origin: (path: Path) => string | null,
): Located[] {
  return issues
    .flatMap((issue) => flatten(issue, []))
    .map(({ path, expected }) => {
      const value = valueAt(input, path)
      const from = origin(path)
      const message =
        expected === null
          ? `is no key of the config${didYouMean(nearest(String(path.at(-1)), keysAt(path.slice(0, -1))))}`
          : `expected ${expected}, got ${show(value, path)}${from === null ? '' : ` from ${from}`}`
      return { path, problem: { code: 'CONFIG_INVALID', key: keyOf(path) || 'config', message } }
    })
}

/** A path as it is written in the config: `channels.chat.history`, `ACTIONS.chat["a b"]`, `origins[0]`. */
export function keyOf(path: Path): string {
  return path
    .map((part, at) => {
      if (typeof part === 'number') return `[${part}]`
      const text = String(part)
      if (!/^[\w$-]+$/.test(text)) return `[${JSON.stringify(text)}]`
      return at === 0 ? text : `.${text}`
    })
    .join('')
}

/** What stands at a path; undefined where nothing does. */
export function valueAt(input: unknown, path: Path): unknown {
  let value = input
  for (const key of path) {
    if (Array.isArray(value)) value = value[Number(key)]
    else if (isRecord(value) && Object.hasOwn(value, key)) value = value[key]
    else return undefined
  }
  return value
}

/** Sections whose texts may be secrets, and the few keys of them whose texts are none. */
const SECRET = new Set<PropertyKey>(['postgres', 'broker', 'auth', 'api'])
const OPEN = new Set<PropertyKey>([
  'cleanupTimeout',
  'minConnections',
  'maxConnections',
  'databases',
  'port',
  'prefetch',
  'maxAttempts',
  'timeout',
  'cache',
  'recheck',
  'concurrency',
])
/** Keys whose texts may be secrets in every other section: of a webhook's URL its path is one, often. */
const ALWAYS_SECRET = new Set<PropertyKey>(['secret', 'url'])

/** A value as a problem shows it: short, and never a secret. */
export function show(value: unknown, path: Path): string {
  if (value === undefined) return 'nothing'
  if (value === null || typeof value === 'boolean') return String(value)
  const secret = isSecret(path)
  if (Array.isArray(value)) return secret ? 'a list' : showList(value, path)
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'number' || typeof value === 'bigint') return secret ? 'a number' : String(value)
  if (typeof value !== 'string') return `a ${typeof value}`
  if (value.trim() === '') return 'an empty text'
  if (secret) return 'another text (not shown: it may be a secret)'
  const text = redact(value)
  return `'${text.length > 80 ? `${text.slice(0, 80)}…` : text}'`
}

function isSecret(path: Path): boolean {
  const key = path.findLast((part) => typeof part === 'string') ?? ''
  return ALWAYS_SECRET.has(key) || (SECRET.has(path[0] ?? '') && !OPEN.has(key))
}

/** Its first elements, so that the wrong one can be seen among them. */
function showList(list: readonly unknown[], path: Path): string {
  if (list.length === 0) return 'an empty list'
  const shown = list.slice(0, MAX_SHOWN).map((element) => show(element, path))
  return `[${shown.join(', ')}${list.length > MAX_SHOWN ? ', …' : ''}]`
}

interface Flat {
  readonly path: Path
  /** Null for a key that nobody knows. */
  readonly expected: string | null
}

function flatten(issue: z.core.$ZodIssue, prefix: Path): Flat[] {
  const path = [...prefix, ...issue.path]
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({ path: [...path, key], expected: null }))
    case 'invalid_union': {
      // every union here is a flag, `false` mostly, a text or a list, or a section: what has the type of one was meant
      // to be that
      const nested = issue.errors.findLast(hasType)
      return nested !== undefined
        ? nested.flatMap((inner) => flatten(inner, path))
        : [{ path, expected: sectionOr(path) }]
    }
    case 'invalid_type':
      return [{ path, expected: issue.expected === 'array' ? 'a list' : section(path) }]
    default:
      return [{ path, expected: issue.message }]
  }
}

/** Whether the value is of the kind that one choice of a union expects, and something in it is wrong. */
function hasType(issues: readonly z.core.$ZodIssue[]): boolean {
  return !issues.some(
    ({ code, path }) => (code === 'invalid_type' || code === 'invalid_value') && path.length === 0,
  )
}

function sectionOr(path: Path): string {
  const embedded = path[0] === 'postgres' ? ", 'embedded'" : ''
  const on = path.at(-1) === 'presence' ? 'true, ' : ''
  return `${on}false${embedded} or ${section(path)}`
}

function section(path: Path): string {
  if (path[0] === 'ACTIONS') {
    return path.length === 1
      ? "the subsystems, such as { chat: { say: './actions/chat/say.ts' } }"
      : "the subsystem's actions, such as { say: './actions/chat/say.ts' }"
  }
  const keys = keysAt(path)
  if (keys.length === 0) return 'an object'
  return `an object with ${keys.length > 4 ? `${keys.slice(0, 4).join(', ')}, …` : keys.join(', ')}`
}
