import type { UwsApp, UwsHandler } from './engine.ts'

export interface GuardOptions {
  /** What may wait for one WebSocket at the most: see `ListenerOptions`. */
  readonly hardBufferBytes: number
  /** From one ping to when its answer is missed, in ms. */
  readonly idleMs: number
  /** Told what a handler threw. */
  report(error: unknown): void
}

/**
 * The app, as Engine.IO is given it: with the limits that it sets none of, and so that an error in it ends one
 * connection and not the daemon.
 */
export function guarded(app: UwsApp, { hardBufferBytes, idleMs, report }: GuardOptions): UwsApp {
  return {
    any: (path, handler) => app.any(path, contained(handler, report)),
    ws: (path, behavior) =>
      app.ws(path, {
        ...behavior,
        // By default 64 KiB, over which frames are dropped without a word.
        maxBackpressure: hardBufferBytes,
        closeOnBackpressureLimit: false,
        // Engine.IO pings by itself, and sooner.
        idleTimeout: Math.min(960, Math.max(8, Math.ceil((2 * idleMs) / 1000))),
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
