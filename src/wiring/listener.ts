import type { Config } from '../config/config.ts'
import { createListener } from '../listeners/create.ts'
import type { Listener } from '../listeners/listener.ts'
import type { Log } from '../ops/log.ts'
import { WEBSOCKET_PATH } from '../transports/transports.ts'
import type { Peer } from '../transports/websocket.ts'

/** More than this a socket never holds: its client is ended at once. */
export function hardBufferBytesOf({ limits }: Config): number {
  return Math.max(16 * 1024 * 1024, 4 * limits.bufferBytes)
}

/**
 * The listener of the config, not listening yet.
 * @param shared other processes listen on the same port
 */
export function openListener(config: Config, shared: boolean, log: Log): Promise<Listener<Peer>> {
  const { limits } = config
  return createListener(
    config.listener,
    {
      websocketPath: WEBSOCKET_PATH,
      maxFrameBytes: limits.frameBytes,
      hardBufferBytes: hardBufferBytesOf(config),
      pingMs: config.pingMs,
      pongMs: config.pongMs,
      compression: config.compression,
      bodyMs: limits.bodyMs,
      stallMs: limits.stallMs,
      shared,
    },
    log,
  )
}
