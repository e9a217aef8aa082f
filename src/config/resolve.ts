import path from 'node:path'
import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { isLoopback } from './address.ts'
import { resolveAuth } from './auth.ts'
import { resolveCalls } from './calls.ts'
import { checkNames, resolveChannels } from './channels.ts'
import type { Config, Limits, ModuleReference } from './config.ts'
import { databaseNames } from './databases.ts'
import { DEFAULTS, DEFAULT_LIMITS } from './defaults.ts'
import { merge, without } from './merge.ts'
import { resolveNodes } from './nodes.ts'
import { problemsOf } from './problems.ts'
import { createReport } from './report.ts'
import type { Report } from './report.ts'
import { configSchema } from './schema.ts'
import type { Parsed } from './schema.ts'
import { resolvePredecessors } from './predecessors.ts'
import { resolveBroker, resolvePostgres } from './servers.ts'
import { resolveEngineIo, resolveSocketIo } from './socketio.ts'
import { resolveSignals } from './signals.ts'
import { settingsOfEnv, settingsOfFlags, settingsOfIni } from './settings.ts'
import type { Flags } from './settings.ts'
import { defined, isRecord } from './values.ts'

/** All that a config is made of: flags win over the environment, that over `config`, that over the INI section. */
export interface Layers {
  readonly flags?: Flags
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What the config file exports: a `ConfigInput`, or whatever came in its place. */
  readonly config: unknown
  readonly ini?: { readonly file: string; readonly section: Readonly<Record<string, unknown>> } | null
}

export interface Resolved {
  readonly config: Config
  /** What is no fault and may still be a mistake. */
  readonly warnings: readonly string[]
}

/** A config with what is wrong with it: where there are problems, what was refused has its default. */
export interface Examined extends Resolved {
  readonly problems: readonly Problem[]
}

/**
 * Makes a `Config` of all layers.
 * @throws {ConfigError} with every problem there is
 */
export function resolveConfig(
  layers: Layers,
  place: { readonly root: string; readonly file: string | null },
): Resolved {
  const { config, warnings, problems } = examine(layers, place)
  if (problems.length > 0) throw new ConfigError(problems, place.file)
  return { config, warnings }
}

/** Makes a `Config` of all layers, as far as they go: for those who want to know all that is wrong at once. */
export function examine(
  { flags = {}, env = {}, config: input, ini = null }: Layers,
  place: { readonly root: string; readonly file: string | null },
): Examined {
  const fromFlags = settingsOfFlags(flags)
  const fromEnv = settingsOfEnv(env)
  const fromIni = ini === null ? null : settingsOfIni(ini.section, ini.file)
  const { merged, origin } = merge(
    input,
    [...fromEnv.settings, ...fromFlags.settings],
    fromIni?.settings ?? [],
  )

  const { parsed, issues } = parse(merged)
  const located = problemsOf(issues, merged, origin)
  const problems: Problem[] = [...fromFlags.problems, ...located.map(({ problem }) => problem)]
  const warnings = [...fromEnv.warnings, ...(fromIni?.warnings ?? [])]
  if (
    Array.isArray(parsed.auth?.jwt) &&
    fromEnv.settings.some(({ path }) => path.join('.') === 'auth.jwt.secret')
  ) {
    warnings.push('LIVEMESSAGES_JWT_SECRET is not used: auth.jwt is a list, name it there with process.env')
  }
  const refused = located.map(({ path }) => path)
  const report = createReport(refused, problems, warnings)

  checkNames(merged, createReport([], problems, warnings))
  const production = env['NODE_ENV'] === 'production'
  const config = assemble(parsed, { ...place, production }, report)
  return { config, warnings, problems }
}

type Issues = NonNullable<ReturnType<typeof configSchema.safeParse>['error']>['issues']

/** Parses; what is refused is taken out and the rest parsed again, so that one problem doesn't hide another. */
function parse(input: unknown): { parsed: Parsed; issues: Issues } {
  const first = configSchema.safeParse(input)
  if (first.success) return { parsed: first.data, issues: [] }
  const issues = first.error.issues
  let rest = input
  for (const { path } of problemsOf(issues, input, () => null)) rest = without(rest, path)
  const base = isRecord(rest) ? rest : {}
  return { parsed: configSchema.parse({ ACTIONS: {}, ...base }), issues }
}

interface Place {
  readonly root: string
  readonly file: string | null
  readonly production: boolean
}

function assemble(parsed: Parsed, { root, file, production }: Place, report: Report): Config {
  const host = parsed.host ?? DEFAULTS.host
  const dev = parsed.dev ?? false
  if (dev && parsed.socket !== undefined) {
    report.problem(
      'dev',
      'expected a loopback host and port (what comes by a socket may come from anybody behind a proxy), got socket',
    )
  } else if (dev && !isLoopback(host)) {
    report.problem(
      'dev',
      `expected a loopback host (the demo page lets everybody publish), got host '${host}'`,
    )
  }
  const keys = parsed.api?.keys ?? []
  if (keys.some((key) => key.length < 16)) {
    report.warning('api.keys has one of less than 16 characters: it can be guessed')
  }
  const auth = resolveAuth(parsed.auth, parsed.trustedProxies ?? [], report)
  const origins = parsed.origins ?? []
  const postgres = resolvePostgres(parsed.postgres, { root, production }, report)
  const databases = databaseNames(postgres)
  const channels = resolveChannels(parsed.ACTIONS, parsed.channels, databases, report)
  const broker = resolveBroker(parsed.broker, report)
  const ambient = auth.cookie === null ? (auth.url === null ? null : 'auth.url') : 'auth.cookie'
  if (origins.includes('*') && ambient !== null) {
    report.warning(
      `origins has '*' and ${ambient} is set: the cookie counts for pages of this host and of origins that are ` +
        "named, for browsers send it from any page that a user visits; name the origins of your pages beside '*'",
    )
  }
  const calls = resolveCalls(parsed.calls, parsed.ACTIONS, report)
  const socketio = resolveSocketIo(parsed.socketio, channels, report)
  return {
    file,
    root,
    host,
    port: parsed.port ?? DEFAULTS.port,
    socket: parsed.socket === undefined ? null : path.resolve(root, parsed.socket),
    ACTIONS: actions(parsed.ACTIONS),
    hooks: defined(parsed.hooks ?? {}),
    channels,
    ...resolveNodes(parsed, { postgres, broker, channels }, report),
    postgres,
    databases,
    broker,
    auth,
    origins,
    api: { keys, loopback: parsed.api?.loopback ?? !production },
    calls,
    streamCallbacks: parsed.stream?.callbacks ?? DEFAULTS.streamCallbacks,
    limits: limits(parsed.limits, report),
    signals: resolveSignals(parsed.signals, { broker, channels }, report),
    predecessors: resolvePredecessors(parsed.predecessors, { channels, calls, postgres }, report),
    trustedProxies: parsed.trustedProxies ?? [],
    listener: resolveListener(parsed.listener ?? 'auto', auth, report),
    compression: parsed.compression ?? false,
    socketio,
    engineio: resolveEngineIo(parsed.engineio, { channels, socketio }, report),
    pingMs: parsed.ping ?? DEFAULTS.pingMs,
    pongMs: parsed.pong ?? DEFAULTS.pongMs,
    stopMs: parsed.stop ?? DEFAULTS.stopMs,
    dev,
    log: { level: parsed.log?.level ?? DEFAULTS.log.level },
  }
}

/** Without prototypes, so that no name finds what nobody wrote there. */
function actions(input: Parsed['ACTIONS']): Config['ACTIONS'] {
  const copy: Record<string, Record<string, ModuleReference>> = Object.create(null)
  for (const [subsystem, modules] of Object.entries(input)) {
    copy[subsystem] = Object.assign(Object.create(null), modules)
  }
  return copy
}

/** How many of the largest publications may wait for a client that is not too slow. */
const WAITING_PUBLICATIONS = 4

function limits(input: Parsed['limits'] = {}, report: Report): Limits {
  const callsPerSecond = input.callsPerSecond ?? DEFAULT_LIMITS.callsPerSecond
  const { userCallsPerSecond = null } = input
  const userCallBurst = userCallsPerSecond === null ? null : userCallsPerSecond * 2
  const all = { ...DEFAULT_LIMITS, callBurst: callsPerSecond * 2, userCallBurst, ...defined(input) }
  if (all.bufferBytes < WAITING_PUBLICATIONS * all.publicationBytes) {
    report.warning(
      `limits.bufferBytes is less than ${WAITING_PUBLICATIONS} times limits.publicationBytes: ` +
        'a few large publications would close clients that read as fast as they can',
    )
  }
  return all
}

/**
 * uWebSockets.js drops bytes from 0x80 up at both ends of a header's value: `annä` of a proxy that writes UTF-8 would come
 * in as `ann`, who may be somebody else.
 */
function resolveListener(
  listener: Config['listener'],
  { header }: Config['auth'],
  report: Report,
): Config['listener'] {
  if (header === null) return listener
  if (listener === 'auto') return 'node'
  if (listener === 'uws') {
    report.warning(
      "auth.header with listener 'uws': uWebSockets.js drops bytes beyond ASCII at both ends of a header, and a user's name " +
        "with such a letter there becomes another's; leave `listener` out, or be sure that all names are ASCII",
    )
  }
  return listener
}
