import type { ChannelPolicy, Limits, SocketIoConfig } from './config.ts'
import { DEFAULTS } from './defaults.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

const NAMESPACE = /^\/[A-Za-z0-9_/-]{0,64}$/

/** What Socket.IO clients find: what is not said of it, is as for all clients. */
export function resolveSocketIo(
  input: Parsed['socketio'],
  own: {
    readonly channels: ReadonlyMap<string, ChannelPolicy>
    readonly limits: Limits
    readonly pingMs: number
    readonly pongMs: number
  },
  report: Report,
): SocketIoConfig | null {
  if (input === false) return null
  const { path, namespaces = {}, transports, ping, pong, maxPayload, connectTimeout, spread } = input ?? {}
  for (const [namespace, subsystem] of Object.entries(namespaces)) {
    if (!NAMESPACE.test(namespace)) {
      report.problem(`socketio.namespaces.${namespace}`, "expected a namespace such as '/' or '/chat'")
    }
    if (own.channels.has(subsystem)) continue
    report.problem(
      `socketio.namespaces.${namespace}`,
      `expected a subsystem of ACTIONS or channels, got '${subsystem}'`,
    )
  }
  return {
    path: path ?? DEFAULTS.socketio.path,
    namespaces: new Map(Object.entries(namespaces)),
    transports: transports ?? DEFAULTS.socketio.transports,
    pingMs: ping ?? own.pingMs,
    pongMs: pong ?? own.pongMs,
    maxPayloadBytes: maxPayload ?? own.limits.frameBytes,
    connectMs: connectTimeout ?? own.limits.authenticationMs,
    spread: spread ?? false,
  }
}
