import type { Namespace, Server } from 'socket.io'
import type { Config, SocketIoConfig } from '../../config/config.ts'
import type { Attachment } from '../engineio/attachment.ts'
import type { EngineServer, UwsApp } from '../engineio/engine.ts'
import { guarded } from '../engineio/guard.ts'
import { engineOptions, settingsOf } from '../engineio/options.ts'
import { Rooms } from '../engineio/rooms.ts'
import { watchEngine } from '../engineio/watch.ts'
import { encodeEvent, isReserved } from './packets.ts'
import { SocketIoTransport } from './transport.ts'

/** Loads the library. @param hardBufferBytes see `ListenerOptions` */
export async function createSocketIo(
  own: SocketIoConfig,
  config: Config,
  hardBufferBytes: number,
): Promise<Attachment> {
  const [library, { boundedParser }] = await Promise.all([import('socket.io'), import('./decoder.ts')])
  const rooms = new Rooms((namespace, frame) => (isReserved(frame) ? null : encodeEvent(namespace, frame)))
  const settings = settingsOf(own, config)
  let transport: SocketIoTransport | null = null
  let io: Server | null = null
  return {
    fanout: rooms,
    attach({ engine }, deps) {
      const served = (transport = new SocketIoTransport(deps, own, rooms))
      const options = {
        ...engineOptions(settings, served.door),
        serveClient: false,
        connectTimeout: own.connectMs ?? config.limits.authenticationMs,
        // It would be for this node alone: cursors hold on all.
        connectionStateRecovery: undefined,
        parser: boundedParser(settings.maxPayloadBytes),
        adapter: NoRooms,
      }
      io = new library.Server(options as unknown as ConstructorParameters<typeof Server>[1])
      served.serve(io)
      if (engine.kind === 'node') io.attach(engine.server, { destroyUpgrade: false })
      else {
        const app = engine.app as UwsApp
        rooms.use(app)
        const report = (error: unknown): void => {
          deps.services.log.error({ err: error }, 'socket.io request failed')
        }
        io.attachApp(guarded(app, { hardBufferBytes, idleMs: settings.pingMs + settings.pongMs, report }))
      }
      const server = io.engine as unknown as EngineServer
      watchEngine(server, engine.kind, deps)
      server.on('connection', (conn) => served.onCarrier(conn))
    },
    drain: () => transport?.drain(),
    settle: async () => transport?.settle(),
    stop() {
      transport?.drain()
      transport?.stop()
      // Not `io.close()`: the server is the listener's to close.
      ;(io?.engine as EngineServer | undefined)?.close()
      io = null
    },
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
