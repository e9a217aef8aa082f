import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { pause } from '../backoff.ts'
import { LivemessageError } from '../errors.ts'
import { explainListenFailure, formatAddress, removeStaleSocket } from '../listeners/address.ts'
import type { Address } from '../listeners/listener.ts'

/** How long another group may take to come up on the port before it counts as taken. */
const PATIENCE_MS = 15_000

const POLL_MS = 50

/**
 * Keeps strangers from a port that workers are about to share. Once one of them listens, the kernel does it: who
 * listens exclusively is refused there. Only another group, whose sockets share as well, would be let in without a
 * word: so each group asks, alone, whether anybody listens, and lets go when one of its own does.
 */
export class PortLock {
  readonly #patienceMs: number
  #address: Address
  #turn: Server | null = null
  #holding: Promise<Address> | null = null

  constructor(address: Address, options: { readonly patienceMs?: number } = {}) {
    this.#address = address
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS
  }

  /**
   * Resolves with the address, its port chosen, when nobody listens there and no other group can begin to.
   * @throws {LivemessageError} PORT_TAKEN, ADDRESS_UNAVAILABLE
   */
  hold(signal: AbortSignal): Promise<Address> {
    this.#holding ??= this.#hold(signal).catch((error: unknown) => {
      this.release()
      throw error
    })
    return this.#holding
  }

  /** Somebody of ours listens, or nobody is going to. Idempotent. */
  release(): void {
    this.#turn?.close()
    this.#turn = null
    this.#holding = null
  }

  async #hold(signal: AbortSignal): Promise<Address> {
    if ('socket' in this.#address) {
      await removeStaleSocket(this.#address.socket)
      return this.#address
    }
    const { host } = this.#address
    const port = this.#address.port === 0 ? await probe(host, 0) : this.#address.port
    this.#turn = await this.#takeTurn(port, signal)
    await probe(host, port)
    this.#address = { host, port }
    return this.#address
  }

  /** One group at a time, whatever its interface: 0.0.0.0 has the port of 127.0.0.1 too. */
  async #takeTurn(port: number, signal: AbortSignal): Promise<Server | null> {
    // Elsewhere the primary itself listens for its workers: the kernel has the last word.
    if (process.platform !== 'linux') return null
    const end = performance.now() + this.#patienceMs
    for (;;) {
      // A name without a file: it belongs to the network namespace, as ports do, and goes with its process.
      const server = createServer((socket) => socket.destroy()).unref()
      server.listen({ path: `\0livemessages:${port}`, exclusive: true })
      try {
        await once(server, 'listening')
        return server
      } catch (error) {
        if (signal.aborted) throw new LivemessageError('STOPPED', 'stopped while starting', { cause: error })
        if (performance.now() > end) {
          throw new LivemessageError('PORT_TAKEN', `another group of workers is starting on port ${port}`, {
            cause: error,
          })
        }
      }
      await pause(POLL_MS, signal)
    }
  }
}

/** Listens for a moment, as nobody else may then. Answers with the port. */
async function probe(host: string, port: number): Promise<number> {
  const server = createServer((socket) => socket.destroy())
  server.listen({ host, port, exclusive: true })
  try {
    await once(server, 'listening')
  } catch (error) {
    throw await explainListenFailure({ host, port }, error as NodeJS.ErrnoException)
  }
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') {
    throw new LivemessageError('ADDRESS_UNAVAILABLE', `no port on ${formatAddress({ host, port })}`)
  }
  return address.port
}
