import type { Config } from '../config/config.ts'
import type { Log } from '../ops/log.ts'
import type { Address, Listener, ListenerOptions } from './listener.ts'
import { NodeListener } from './node.ts'
import { loadUws, requireUws, UwsListener } from './uws.ts'

/**
 * Whether workers can share an address with this engine: uWebSockets.js leaves it to SO_REUSEPORT, which balances
 * on Linux alone and which unix sockets don't have; `node:cluster` shares whatever Node listens on.
 */
export function canShare(kind: 'uws' | 'node', address: Address, platform = process.platform): boolean {
  return kind === 'node' || (platform === 'linux' && !('socket' in address))
}

/**
 * Which listener `createListener` would create.
 * @throws {LivemessageError} LISTENER_UNAVAILABLE
 */
export async function listenerKind(choice: Config['listener']): Promise<'uws' | 'node'> {
  if (choice === 'node') return 'node'
  const uws = await loadUws()
  if (choice === 'uws') requireUws(uws)
  return uws === null ? 'node' : 'uws'
}

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
  warnWithoutUws(log)
  return new NodeListener(options)
}

export function warnWithoutUws(log: Log): void {
  log.warn(
    { node: process.version, listener: 'node' },
    'uWebSockets.js has no binary for this Node: listening with ws, at about a tenth of its fan-out',
  )
}
