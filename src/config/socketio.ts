import type { ChannelPolicy, EngineIoConfig, SocketIoConfig } from './config.ts'
import { DEFAULTS } from './defaults.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

const NAMESPACE = /^\/[A-Za-z0-9_/-]{0,64}$/

/** What Socket.IO clients find. */
export function resolveSocketIo(
  input: Parsed['socketio'],
  channels: ReadonlyMap<string, ChannelPolicy>,
  report: Report,
): SocketIoConfig | null {
  if (input === false) return null
  const { namespaces = {}, connectTimeout, spread } = input ?? {}
  for (const [namespace, subsystem] of Object.entries(namespaces)) {
    const key = `socketio.namespaces.${namespace}`
    if (!NAMESPACE.test(namespace)) report.problem(key, "expected a namespace such as '/' or '/chat'")
    checkSubsystem(key, subsystem, channels, report)
  }
  return {
    ...engine(input ?? {}, DEFAULTS.socketio),
    namespaces: new Map(Object.entries(namespaces)),
    connectMs: connectTimeout ?? null,
    spread: spread ?? false,
  }
}

/** What Engine.IO clients find, if anything. */
export function resolveEngineIo(
  input: Parsed['engineio'],
  own: {
    readonly channels: ReadonlyMap<string, ChannelPolicy>
    readonly socketio: SocketIoConfig | null
  },
  report: Report,
): EngineIoConfig | null {
  if (input === undefined || input === false) return null
  const { subsystem } = input
  if (subsystem !== undefined) checkSubsystem('engineio.subsystem', subsystem, own.channels, report)
  const config = { ...engine(input, DEFAULTS.engineio), subsystem: subsystem ?? null }
  const taken = own.socketio?.path
  // Who serves a path serves what is below it.
  if (taken !== undefined && (taken.startsWith(config.path) || config.path.startsWith(taken))) {
    report.problem('engineio.path', `expected one apart from Socket.IO's, '${taken}', got '${config.path}'`)
  }
  return config
}

/** What both have. Null: as for all clients. */
function engine(
  { path, transports, ping, pong, maxPayload }: Exclude<Parsed['engineio'], undefined | false>,
  defaults: Pick<EngineIoConfig, 'path' | 'transports'>,
): Omit<EngineIoConfig, 'subsystem'> {
  return {
    path: path ?? defaults.path,
    transports: transports ?? defaults.transports,
    pingMs: ping ?? null,
    pongMs: pong ?? null,
    maxPayloadBytes: maxPayload ?? null,
  }
}

function checkSubsystem(
  key: string,
  subsystem: string,
  channels: ReadonlyMap<string, ChannelPolicy>,
  report: Report,
): void {
  if (!channels.has(subsystem)) {
    report.problem(key, `expected a subsystem of ACTIONS or channels, got '${subsystem}'`)
  }
}
