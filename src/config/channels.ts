import { NAME } from '../protocol/names.ts'
import type { ChannelPolicy, DatabaseNames, PresencePolicy } from './config.ts'
import { isChannelPart } from './databases.ts'
import { DEFAULT_LEAVE_AFTER_MS, DEFAULT_MAILBOX_RETENTION, DEFAULT_RETENTION } from './defaults.ts'
import { didYouMean, nearest } from './near.ts'
import { keyOf } from './problems.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'
import { isRecord } from './values.ts'

/** `modules` of a registry stand under this name when they belong to no subsystem. */
const RESERVED_SUBSYSTEMS = new Set(['hooks'])

/** The policy of every subsystem of ACTIONS and channels, in that order. */
export function resolveChannels(
  ACTIONS: Parsed['ACTIONS'],
  channels: Parsed['channels'] = {},
  databases: DatabaseNames,
  report: Report,
): Map<string, ChannelPolicy> {
  const policies = new Map<string, ChannelPolicy>()
  for (const name of new Set([...Object.keys(ACTIONS), ...Object.keys(channels)])) {
    const said = Object.hasOwn(channels, name) ? channels[name] : undefined
    const hook = Object.hasOwn(ACTIONS, name) && Object.hasOwn(ACTIONS[name] ?? {}, 'subscribe')
    const mailbox = said?.delivery === 'mailbox'
    const usual = mailbox ? DEFAULT_MAILBOX_RETENTION : DEFAULT_RETENTION
    const { count = usual.count, maxAge = usual.maxAgeMs } = said?.history ?? {}
    const journaled = said?.history !== undefined || (said?.delivery ?? 'transient') !== 'transient'
    if (said?.history !== undefined && said.delivery === 'transient') {
      report.problem(
        keyOf(['channels', name, 'delivery']),
        "'transient' keeps nothing, but history says how much to keep: leave one of them out",
      )
    }
    if (said?.conflate !== undefined && journaled) {
      report.problem(
        keyOf(['channels', name, 'conflate']),
        'keeps the latest value in place of a history: leave one of them out',
      )
    }
    if (said !== undefined && !Object.hasOwn(ACTIONS, name)) {
      const unsaid = Object.keys(ACTIONS).filter((other) => !Object.hasOwn(channels, other))
      const near = nearest(name, unsaid)
      if (near !== null) {
        const key = keyOf(['channels', name])
        report.warning(`${key} is no subsystem of ACTIONS, and '${near}' has no policy${didYouMean(near)}`)
      }
    }
    policies.set(name, {
      access: said?.access ?? (hook ? 'hook' : 'none'),
      publish: said?.publish ?? 'none',
      history: journaled ? { count, maxAgeMs: maxAge } : null,
      mailbox,
      conflate: said?.conflate ?? null,
      presence: resolvePresence(said?.presence),
      ...(said?.perDatabase === true && { databases }),
    })
    if (said?.perDatabase === true) checkDatabases(name, databases, report)
  }
  return policies
}

function checkDatabases(subsystem: string, { home, further }: DatabaseNames, report: Report): void {
  const key = keyOf(['channels', subsystem, 'perDatabase'])
  if (home === null) {
    report.problem(key, 'needs a database, got postgres: false')
    return
  }
  const odd = [home, ...further].find((name) => !isChannelPart(name))
  if (odd === undefined) return
  report.problem(key, `expected databases whose names a channel can hold (A-Z a-z 0-9 _ . @ -), got '${odd}'`)
}

function resolvePresence(said: NonNullable<Parsed['channels']>[string]['presence']): PresencePolicy | null {
  if (said === undefined || said === false) return null
  const { by = 'session', events = true, leaveAfter } = said === true ? {} : said
  return { by, events, leaveAfterMs: leaveAfter ?? DEFAULT_LEAVE_AFTER_MS[by] }
}

/** Reports names that no channel or call could carry. Reads the input itself: validators skip keys such as `__proto__`. */
export function checkNames(input: unknown, report: Report): void {
  if (!isRecord(input)) return
  for (const section of ['ACTIONS', 'channels'] as const) {
    if (!isRecord(input[section])) continue
    for (const [name, value] of Object.entries(input[section])) {
      checkName([section, name], 'subsystem', report)
      if (section === 'ACTIONS' && isRecord(value)) {
        for (const action of Object.keys(value)) checkName([section, name, action], 'action', report)
      }
    }
  }
}

function checkName(path: readonly string[], what: 'subsystem' | 'action', report: Report): void {
  const name = path.at(-1) ?? ''
  if (!NAME.test(name)) {
    const rule = `1 to 64 letters, digits, '_' and '-', the first a letter`
    report.problem(
      keyOf(path),
      `expected the name of ${what === 'action' ? 'an action' : 'a subsystem'} (${rule}), got '${name}'`,
    )
  } else if (what === 'subsystem' && RESERVED_SUBSYSTEMS.has(name)) {
    report.problem(
      keyOf(path),
      `'${name}' is reserved: name the subsystem otherwise (hooks of connections stand under 'hooks', beside ACTIONS)`,
    )
  }
}
