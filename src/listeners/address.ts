import { connect, createServer } from 'node:net'
import { unlink } from 'node:fs/promises'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Address } from './listener.ts'

/** An address as people write it. */
export function formatAddress(address: Address): string {
  if ('socket' in address) return address.socket
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** Why nothing could listen there: uWS only says that it can't, so Node's own server is asked for the reason. */
export async function explainListenFailure(address: Address, known?: NodeJS.ErrnoException): Promise<Error> {
  const error = known ?? (await tryToListen(address))
  const where = formatAddress(address)
  if (error?.code === 'EADDRINUSE') {
    return new LivemessageError(
      'PORT_TAKEN',
      `${where} is taken by another process; choose another with -p or port, or stop that one`,
      { cause: error },
    )
  }
  const reason = error === null ? 'the listener refused it' : messageOf(error)
  return new LivemessageError('ADDRESS_UNAVAILABLE', `can't listen on ${where}: ${reason}`, { cause: error })
}

/** What the kernel's sockaddr_un has room for, less the ending zero; longer paths are cut without a word. */
const MAX_SOCKET_PATH = 107

/**
 * Removes the file of a unix socket that nobody listens on any more.
 * @throws {LivemessageError} PORT_TAKEN where somebody does; ADDRESS_UNAVAILABLE for a path that is too long
 */
export async function removeStaleSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new LivemessageError(
      'ADDRESS_UNAVAILABLE',
      `can't listen on ${path}: a socket's path has at most ${MAX_SOCKET_PATH} bytes`,
    )
  }
  const code = await new Promise<string | null>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(null)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'UNKNOWN'))
  })
  if (code === 'ECONNREFUSED') await unlink(path)
  if (code === null) {
    throw new LivemessageError('PORT_TAKEN', `${path} is taken by another process`)
  }
}

function tryToListen(address: Address): Promise<NodeJS.ErrnoException | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen('socket' in address ? { path: address.socket } : { ...address, exclusive: true }, () => {
      server.close(() => resolve(null))
    })
  })
}
