import { RESERVED } from '../registry/registry.ts'
import type { CallsConfig } from './config.ts'
import { didYouMean, nearest } from './near.ts'
import { keyOf } from './problems.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'
import { DEFAULTS } from './defaults.ts'

/** A path of HTTP: `/roles/messages/all`. */
const PATH = /^(?:\/[A-Za-z0-9._~-]+)+$/

/** The first segments of what the daemon itself serves. */
const TAKEN: ReadonlySet<string> = new Set([
  'admin',
  'api',
  'client',
  'command',
  'get_messages',
  'healthz',
  'listen',
  'metrics',
  'poll',
  'publish',
  'readyz',
  'socket.io',
  'sse',
  'stream',
  'ws',
])

export function resolveCalls(
  said: Parsed['calls'] = {},
  ACTIONS: Parsed['ACTIONS'],
  report: Report,
): CallsConfig {
  const prefix = said.prefix ?? DEFAULTS.calls.prefix
  const wrong = wrongWith(prefix, '/call')
  if (wrong !== null) report.problem('calls.prefix', wrong)
  const aliases = new Map<string, string>()
  for (const [path, action] of Object.entries(said.aliases ?? {})) {
    const key = keyOf(['calls', 'aliases', path])
    const below = path === prefix || path.startsWith(`${prefix}/`)
    const fault = wrongWith(path) ?? (below ? `'${prefix}/…' names the actions themselves` : null)
    if (fault !== null) report.problem(key, fault)
    else if (!isAction(action, ACTIONS)) {
      report.problem(
        key,
        `expected an action of ACTIONS, got '${action}'${didYouMean(nearest(action, actionsOf(ACTIONS)))}`,
      )
    } else aliases.set(path, action)
  }
  const { plain = DEFAULTS.calls.plain } = said
  return { prefix: wrong === null ? prefix : DEFAULTS.calls.prefix, aliases, plain }
}

/** Null for a path that actions can have. */
function wrongWith(path: string, such = '/roles/messages/all'): string | null {
  if (!PATH.test(path) || path.split('/').some((segment) => segment === '.' || segment === '..')) {
    return `expected a path such as '${such}', without a slash at its end, got '${path}'`
  }
  const [, first = ''] = path.split('/')
  return TAKEN.has(first) ? `'/${first}' is the daemon's own: expected another path, got '${path}'` : null
}

function isAction(action: string, ACTIONS: Parsed['ACTIONS']): boolean {
  return actionsOf(ACTIONS).includes(action)
}

function actionsOf(ACTIONS: Parsed['ACTIONS']): string[] {
  return Object.entries(ACTIONS).flatMap(([subsystem, modules]) =>
    Object.keys(modules)
      .filter((name) => !RESERVED.some((reserved) => reserved === name))
      .map((name) => `${subsystem}.${name}`),
  )
}
