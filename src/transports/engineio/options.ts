import type { Config } from '../../config/config.ts'
import type { Door } from './door.ts'
import type { EngineRequest } from './engine.ts'

/** What the config says of an Engine.IO server; null: as for all clients. */
export interface EngineConfig {
  readonly path: string
  readonly transports: readonly ('polling' | 'websocket')[]
  readonly pingMs: number | null
  readonly pongMs: number | null
  readonly maxPayloadBytes: number | null
}

/** With what holds for all clients where nothing is said. */
export interface EngineSettings {
  readonly path: string
  readonly transports: readonly string[]
  readonly pingMs: number
  readonly pongMs: number
  readonly maxPayloadBytes: number
}

export function settingsOf(
  { path, transports, pingMs, pongMs, maxPayloadBytes }: EngineConfig,
  config: Pick<Config, 'pingMs' | 'pongMs' | 'limits'>,
): EngineSettings {
  return {
    path,
    transports,
    pingMs: pingMs ?? config.pingMs,
    pongMs: pongMs ?? config.pongMs,
    maxPayloadBytes: maxPayloadBytes ?? config.limits.frameBytes,
  }
}

/** What Engine.IO's server is made with. */
export function engineOptions(settings: EngineSettings, door: Door): object {
  return {
    path: settings.path,
    transports: [...settings.transports],
    pingInterval: settings.pingMs,
    pingTimeout: settings.pongMs,
    maxHttpBufferSize: settings.maxPayloadBytes,
    perMessageDeflate: false,
    httpCompression: false,
    cors: (
      request: unknown,
      done: (error: null, cors: { origin: boolean; credentials: boolean }) => void,
    ) => {
      const asked = request as EngineRequest
      done(null, { origin: door.allows(asked), credentials: door.trusts(asked) })
    },
    allowRequest: (request: unknown, done: (message: string | null, allowed: boolean) => void) => {
      const refused = door.ask(request as EngineRequest)
      done(refused, refused === null)
    },
  }
}
