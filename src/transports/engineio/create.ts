import type { Config, EngineIoConfig } from '../../config/config.ts'
import type { Attachment } from './attachment.ts'
import type { EngineServer, NodeEngineServer, UwsApp, UwsEngineServer } from './engine.ts'
import { FRAMES, messagesOf } from './forms.ts'
import { guarded } from './guard.ts'
import { engineOptions, settingsOf } from './options.ts'
import { Rooms } from './rooms.ts'
import { EngineIoTransport } from './transport.ts'
import { watchEngine } from './watch.ts'

/** Loads the library. @param hardBufferBytes see `ListenerOptions` */
export async function createEngineIo(
  own: EngineIoConfig,
  config: Config,
  hardBufferBytes: number,
): Promise<Attachment> {
  const library = await import('engine.io')
  const form = own.subsystem === null ? FRAMES : messagesOf(own.subsystem)
  const rooms = new Rooms((_place, frame) => {
    const message = form.write(frame)
    if (message === null) return null
    return typeof message === 'string'
      ? { text: message, attachments: [] }
      : { text: null, attachments: [message] }
  })
  const settings = settingsOf(own, config)
  let transport: EngineIoTransport | null = null
  let server: EngineServer | null = null
  return {
    fanout: rooms,
    attach({ engine }, deps) {
      const served = (transport = new EngineIoTransport(deps, form, rooms))
      const options = engineOptions(settings, served.door)
      if (engine.kind === 'node') {
        const own = new library.Server(options) as unknown as NodeEngineServer
        own.attach(engine.server, { path: settings.path, destroyUpgrade: false })
        server = own
      } else {
        const app = engine.app as UwsApp
        rooms.use(app)
        const report = (error: unknown): void => {
          deps.services.log.error({ err: error }, 'engine.io request failed')
        }
        const own = new library.uServer(options) as unknown as UwsEngineServer
        const idleMs = settings.pingMs + settings.pongMs
        own.attach(guarded(app, { hardBufferBytes, idleMs, report }), { path: settings.path })
        server = own
      }
      watchEngine(server, engine.kind, deps)
      server.on('connection', (conn) => served.onCarrier(conn))
    },
    drain: () => transport?.drain(),
    settle: async () => transport?.settle(),
    stop() {
      transport?.drain()
      transport?.stop()
      server?.close()
      server = null
    },
  }
}
