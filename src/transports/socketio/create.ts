import type { Server as HttpServer } from 'node:http'
import type { Namespace, Server } from 'socket.io'
import type { SocketIoConfig } from '../../config/config.ts'
import type { Fanout } from '../../hub/link.ts'
import type { Listener } from '../../listeners/listener.ts'
import type { EngineRequest, EngineSocket, UwsApp, UwsHandler } from './engine.ts'
import { Rooms } from './rooms.ts'
import { type SocketIoDependencies, SocketIoTransport } from './transport.ts'

export interface SocketIo {
  /** Serves Socket.IO at the config's path. Once, before the listener listens. */
  attach(listener: Pick<Listener<never>, 'engine'>, deps: SocketIoDependencies): void
  readonly fanout: Fanout
  /** No new connections. The hub's clients are closed by whoever closes all of them. */
  drain(): void
  /** Resolves when the hooks have been told of those who left. */
  settle(): Promise<void>
  /** Ends what is left, before the listener closes. Idempotent. */
  stop(): void
}

export interface SocketIoOptions {
  readonly config: SocketIoConfig
  /** What may wait for one WebSocket at the most: see `ListenerOptions`. */
  readonly hardBufferBytes: number
  /** Where raw WebSockets are: upgrades of neither path are refused. */
  readonly websocketPath: string
}

/** Loads the library. */
export async function createSocketIo({
  config,
  hardBufferBytes,
  websocketPath,
}: SocketIoOptions): Promise<SocketIo> {
  const [library, { boundedParser }] = await Promise.all([import('socket.io'), import('./decoder.ts')])
  const rooms = new Rooms()
  let transport: SocketIoTransport | null = null
  let io: Server | null = null
  return {
    fanout: rooms,
    attach({ engine }, deps) {
      const own = (transport = new SocketIoTransport(deps, config, rooms))
      const { door } = own
      const options = {
        path: config.path,
        serveClient: false,
        transports: [...config.transports],
        pingInterval: config.pingMs,
        pingTimeout: config.pongMs,
        maxHttpBufferSize: config.maxPayloadBytes,
        connectTimeout: config.connectMs,
        // It would be for this node alone: cursors hold on all.
        connectionStateRecovery: undefined,
        perMessageDeflate: false,
        httpCompression: false,
        parser: boundedParser(config.maxPayloadBytes),
        adapter: NoRooms,
        cors: (
          request: unknown,
          done: (error: null, cors: { origin: boolean; credentials: boolean }) => void,
        ) => {
          done(null, { origin: door.allows(request as EngineRequest), credentials: true })
        },
        allowRequest: (request: unknown, done: (message: string | null, allowed: boolean) => void) => {
          const refused = door.ask(request as EngineRequest)
          done(refused, refused === null)
        },
      }
      io = new library.Server(options as unknown as ConstructorParameters<typeof Server>[1])
      own.serve(io)
      if (engine.kind === 'node') {
        io.attach(engine.server, { destroyUpgrade: false })
        refuseOthers(engine.server, [websocketPath, config.path])
      } else {
        const app = engine.app as UwsApp
        rooms.use(app)
        const idleMs = config.pingMs + config.pongMs
        io.attachApp(
          guarded(app, { hardBufferBytes, idleMs }, (error) => {
            deps.services.log.error({ err: error }, 'socket.io request failed')
          }),
        )
      }
      io.engine.on('connection', (conn: unknown) => own.onCarrier(conn as EngineSocket))
    },
    drain: () => transport?.drain(),
    settle: async () => transport?.settle(),
    stop() {
      transport?.drain()
      transport?.stop()
      // Not `io.close()`: the server is the listener's to close.
      ;(io?.engine as { close(): void } | undefined)?.close()
      io = null
    },
  }
}

/** With several who take upgrades, none of them refuses what is for nobody. */
function refuseOthers(server: HttpServer, paths: readonly string[]): void {
  server.on('upgrade', ({ url = '' }, stream) => {
    const path = url.split('?', 1)[0]!
    if (paths.some((known) => path === known)) return
    stream.end(
      'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n' +
        '{"error":{"code":"not_found"}}',
      () => stream.destroy(),
    )
  })
}

/**
 * The app, as Engine.IO is given it: with the limits that it sets none of, and so that an error in it ends one
 * connection and not the daemon.
 */
function guarded(
  app: UwsApp,
  limits: { readonly hardBufferBytes: number; readonly idleMs: number },
  report: (error: unknown) => void,
): UwsApp {
  return {
    any: (path, handler) => app.any(path, contained(handler, report)),
    ws: (path, behavior) =>
      app.ws(path, {
        ...behavior,
        // By default 64 KiB, over which frames are dropped without a word.
        maxBackpressure: limits.hardBufferBytes,
        closeOnBackpressureLimit: false,
        // Engine.IO pings by itself, and sooner.
        idleTimeout: Math.min(960, Math.max(8, Math.ceil((2 * limits.idleMs) / 1000))),
        dropped: (socket: UwsCarried) => {
          // Not now: uWS is in the middle of handing out what was published.
          setImmediate(() => {
            if (socket.getUserData().transport.readyState === 'open') socket.close()
          })
        },
      }),
    publish: (topic, message, isBinary) => app.publish(topic, message, isBinary),
  }
}

interface UwsCarried {
  getUserData(): { readonly transport: { readonly readyState: string } }
  close(): void
}

function contained(handler: UwsHandler, report: (error: unknown) => void): UwsHandler {
  return (response, request) => {
    try {
      handler(response, request)
    } catch (error) {
      report(error)
      response.close()
    }
  }
}

/** The library's rooms, of which none are used: see `Rooms`. */
class NoRooms {
  readonly nsp: Namespace
  readonly rooms = new Map<string, Set<string>>()
  readonly sids = new Map<string, Set<string>>()

  constructor(nsp: Namespace) {
    this.nsp = nsp
  }

  init(): void {
    // Nothing to begin.
  }

  close(): void {
    // Nothing to end.
  }

  addAll(): void {
    // A socket's own room: nobody calls it by that.
  }

  del(): void {
    // As above.
  }

  delAll(): void {
    // As above.
  }
}
