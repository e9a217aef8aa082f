import type { Server as HttpServer } from 'node:http'
import type { Config } from '../config/config.ts'
import type { Fanout } from '../hub/link.ts'
import type { Attachment } from './engineio/attachment.ts'
import { createEngineIo } from './engineio/create.ts'
import { createSocketIo } from './socketio/create.ts'

/** The libraries that serve clients on our listener. */
export interface Attachments extends Omit<Attachment, 'fanout'> {
  readonly fanouts: readonly Fanout[]
}

/**
 * Loads those that the config wants.
 * @param hardBufferBytes what may wait for one WebSocket at the most: see `ListenerOptions`
 * @param websocketPath where raw WebSockets are: upgrades of paths that nobody serves are refused
 */
export async function createAttachments(
  config: Config,
  { hardBufferBytes, websocketPath }: { readonly hardBufferBytes: number; readonly websocketPath: string },
): Promise<Attachments> {
  const { socketio, engineio } = config
  const loaded = await Promise.all([
    socketio === null ? null : createSocketIo(socketio, config, hardBufferBytes),
    engineio === null ? null : createEngineIo(engineio, config, hardBufferBytes),
  ])
  const all = loaded.filter((one) => one !== null)
  const folders = [socketio, engineio].filter((one) => one !== null).map(({ path }) => path)
  return {
    fanouts: all.map(({ fanout }) => fanout),
    attach(listener, deps) {
      for (const one of all) one.attach(listener, deps)
      const { engine } = listener
      if (engine.kind === 'node' && all.length > 0) refuseOthers(engine.server, websocketPath, folders)
    },
    drain() {
      for (const one of all) one.drain()
    },
    async settle() {
      await Promise.all(all.map((one) => one.settle()))
    },
    stop() {
      for (const one of all) one.stop()
    },
  }
}

/** With several who take upgrades, none of them refuses what is for nobody. The libraries look at how a path begins. */
function refuseOthers(server: HttpServer, websocketPath: string, folders: readonly string[]): void {
  server.on('upgrade', ({ url = '' }, stream) => {
    if (url.split('?', 1)[0] === websocketPath || folders.some((folder) => url.startsWith(folder))) return
    stream.end(
      'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n' +
        '{"error":{"code":"not_found"}}',
      () => stream.destroy(),
    )
  })
}
