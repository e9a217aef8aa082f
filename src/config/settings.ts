import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { parseAddress } from './address.ts'
import { didYouMean, nearest } from './near.ts'

/** What the command line says. Values are as they were typed. */
export interface Flags {
  /** `[interface:port]`. */
  readonly address?: string
  /** `-i`; wins over the address. */
  readonly host?: string
  /** `-p`; wins over the address. */
  readonly port?: number | string
  readonly socket?: string
  /** `-d`: names of databases, separated by commas. */
  readonly databases?: string
  /** `--max-cursor`: connections to each database. */
  readonly maxCursor?: number | string
  /** `--ini`: relative to the current folder. */
  readonly ini?: string
  readonly listener?: string
  readonly workers?: number | string
  readonly logLevel?: string
  readonly dev?: boolean
}

/** One value from elsewhere than the config file. */
export interface Setting {
  readonly path: readonly string[]
  readonly value: unknown
  /** How users know it: `LIVEMESSAGES_PORT`, `--max-cursor`. */
  readonly from: string
}

export interface Settings {
  readonly settings: readonly Setting[]
  readonly problems: readonly Problem[]
  readonly warnings: readonly string[]
}

type Read = (text: string) => unknown

/** Names of the environment (with the prefix) and of the INI section (without). */
const NAMES: ReadonlyMap<string, readonly [path: string, read: Read]> = new Map<
  string,
  readonly [string, Read]
>([
  ['HOST', ['host', asText]],
  ['PORT', ['port', asNumber]],
  ['SOCKET', ['socket', asText]],
  ['POSTGRES_URL', ['postgres.url', asText]],
  ['POSTGRES_LISTEN_URL', ['postgres.listenUrl', asText]],
  ['POSTGRES_MINCON', ['postgres.minConnections', asNumber]],
  ['POSTGRES_MAXCON', ['postgres.maxConnections', asNumber]],
  ['POSTGRES_CLEANUP_TIMEOUT', ['postgres.cleanupTimeout', asSeconds]],
  ['BROKER_URL', ['broker.url', asText]],
  ['BROKER_HOST', ['broker.host', asText]],
  ['API_KEY', ['api.keys', (text) => [text]]],
  ['JWT_SECRET', ['auth.jwt.secret', asText]],
  ['JOURNAL', ['journal', asText]],
  ['LISTENER', ['listener', asText]],
  ['WORKERS', ['workers', asNumber]],
  ['LOG_LEVEL', ['log.level', asText]],
])

const PREFIX = 'LIVEMESSAGES_'

/** The settings of the environment; an empty variable says nothing. */
export function settingsOfEnv(env: Readonly<Record<string, string | undefined>>): Settings {
  const settings: Setting[] = []
  const warnings: string[] = []
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || text === undefined || text.trim() === '') continue
    const name = variable.slice(PREFIX.length)
    const known = NAMES.get(name)
    if (known) settings.push(setting(known, text, variable))
    else if (!name.startsWith('TEST_')) warnings.push(`${variable} is no setting${meant(name, PREFIX)}`)
  }
  return { settings, problems: [], warnings }
}

/** The settings of an INI section; its keys may be in upper or lower case. */
export function settingsOfIni(section: Readonly<Record<string, unknown>>, file: string): Settings {
  const settings: Setting[] = []
  const warnings: string[] = []
  for (const [key, value] of Object.entries(section)) {
    const name = key.toUpperCase()
    const known = NAMES.get(name)
    if (!known) warnings.push(`${key} in ${file} is no setting${meant(name, '')}`)
    else if (String(value).trim() !== '') settings.push(setting(known, String(value), `${key} in ${file}`))
  }
  return { settings, problems: [], warnings }
}

/** The settings of the command line. */
export function settingsOfFlags(flags: Flags): Settings {
  const settings: Setting[] = []
  const problems: Problem[] = []
  const add = (path: string, from: string, value: unknown) => {
    if (value !== undefined) settings.push({ path: path.split('.'), value, from })
  }
  if (flags.address !== undefined) {
    try {
      const { host, port } = parseAddress(flags.address)
      add('host', flags.address, host)
      add('port', flags.address, port)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      problems.push(...error.problems)
    }
  }
  add('host', '-i', flags.host)
  add('port', '-p', number(flags.port))
  add('socket', '--socket', flags.socket)
  add(
    'postgres.databases',
    '-d',
    flags.databases?.split(',').map((name) => name.trim()),
  )
  add('postgres.maxConnections', '--max-cursor', number(flags.maxCursor))
  add('listener', '--listener', flags.listener)
  add('workers', '--workers', number(flags.workers))
  add('log.level', '--log-level', flags.logLevel)
  add('dev', '--dev', flags.dev)
  return { settings, problems, warnings: [] }
}

function setting([path, read]: readonly [string, Read], text: string, from: string): Setting {
  return { path: path.split('.'), value: read(text.trim()), from }
}

function meant(name: string, prefix: string): string {
  const near = nearest(name, NAMES.keys())
  return didYouMean(near === null ? null : prefix + near)
}

function asText(text: string): string {
  return text
}

/** A number, or the text as it is for the validator to refuse. */
function asNumber(text: string): number | string {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

/** The predecessors' durations are seconds. */
function asSeconds(text: string): number | string {
  const seconds = asNumber(text)
  return typeof seconds === 'number' ? seconds * 1000 : seconds
}

function number(value: number | string | undefined): number | string | undefined {
  return typeof value === 'string' ? asNumber(value.trim()) : value
}
