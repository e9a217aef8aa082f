import type { Config } from '../config/config.ts'
import type { Log } from '../ops/log.ts'
import type { Listener, ListenerOptions } from './listener.ts'
import { NodeListener } from './node.ts'
import { loadUws, requireUws, UwsListener } from './uws.ts'

/**
 * The listener that the config asks for; with `auto`, uWebSockets.js where it has a binary for this Node.
 * @throws {LivemessageError} LISTENER_UNAVAILABLE
 */
export async function createListener<State>(
  choice: Config['listener'],
  options: ListenerOptions,
  log: Log,
): Promise<Listener<State>> {
  if (choice === 'node') return new NodeListener(options)
  const uws = await loadUws()
  if (uws !== null || choice === 'uws') return new UwsListener(requireUws(uws), options)
  log.warn(
    { node: process.version, listener: 'node' },
    'uWebSockets.js has no binary for this Node: listening with ws, at about a tenth of its fan-out',
  )
  return new NodeListener(options)
}
