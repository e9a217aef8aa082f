import { connect } from 'amqplib'
import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib'
import { messageOf } from '../errors.ts'
import { backoffMs, DEFAULT_RETRY, pause, isSettled } from '../backoff.ts'
import type { Retry } from '../backoff.ts'

export type { Channel, ConfirmChannel, ConsumeMessage, GetMessage, Options } from 'amqplib'

export interface AmqpConnectionOptions {
  readonly url: string
  /** As the broker's list of connections shows it. @default 'livemessages' */
  readonly connectionName?: string
  readonly retry?: Retry
  /** Time to connect. @default 10000 */
  readonly connectMs?: number
  /** AMQP heartbeat, in seconds: a dead connection is noticed within three of them. @default 10 */
  readonly heartbeatS?: number
  /** How long a stop waits for the broker's good-bye. @default 1000 */
  readonly closeMs?: number
}

export interface AmqpHandlers {
  /** Sets up what is needed. When it rejects, the connection is closed, and the attempt counts as failed. */
  onOpen(link: AmqpLink): Promise<void>
  /** The connection was lost, or an attempt failed. */
  onDown(reason: string): void
  /** The broker takes no publications (memory, disk), or does again: null. */
  onBlocked(reason: string | null): void
}

/** One connection to the broker, while it lasts. */
export interface AmqpLink {
  /** Aborted when the connection is over. */
  readonly signal: AbortSignal
  /** Resolves with the reason when it is. */
  readonly ended: Promise<string>
  createChannel(): Promise<Channel>
  createConfirmChannel(): Promise<ConfirmChannel>
  /** Ends it at once. */
  fail(reason: string): void
  /** Ends it politely, or at once after `closeMs`. */
  close(closeMs: number): Promise<void>
}

/** A connection that comes back for ever: amqplib gives no second one by itself. */
export class AmqpConnection {
  readonly #options: AmqpConnectionOptions
  readonly #retry: Retry
  readonly #stopped = new AbortController()
  #link: AmqpLink | null = null
  #running: Promise<void> | null = null

  constructor(options: AmqpConnectionOptions) {
    this.#options = options
    this.#retry = options.retry ?? DEFAULT_RETRY
  }

  /** Resolves after the first attempt, whatever came of it. */
  start(handlers: AmqpHandlers): Promise<void> {
    return new Promise((resolve) => {
      this.#running ??= this.#run(handlers, resolve)
    })
  }

  /** Idempotent; no socket is left, whatever the broker does. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.#link?.close(this.#options.closeMs ?? 1_000)
    await this.#running
  }

  async #run(handlers: AmqpHandlers, first: () => void): Promise<void> {
    const { signal } = this.#stopped
    for (let attempt = 0; !signal.aborted; attempt++) {
      const began = Date.now()
      const reason = await this.#once(handlers, first)
      if (signal.aborted) break
      handlers.onDown(reason)
      first()
      // A broker that takes connections only to drop them is not to be hammered.
      if (isSettled(began, this.#retry)) attempt = 0
      await pause(backoffMs(attempt, this.#retry), signal)
    }
    first()
  }

  /** From one connection's beginning to its end; resolves with the reason of the end. */
  async #once(handlers: AmqpHandlers, first: () => void): Promise<string> {
    const { signal } = this.#stopped
    let link: AmqpLink
    try {
      link = await openLink(this.#options, { signal, onBlocked: (reason) => handlers.onBlocked(reason) })
    } catch (error) {
      return messageOf(error)
    }
    this.#link = link
    try {
      if (signal.aborted) await link.close(this.#options.closeMs ?? 1_000)
      else await Promise.race([handlers.onOpen(link), link.ended])
    } catch (error) {
      link.fail(messageOf(error))
    }
    first()
    const reason = await link.ended
    this.#link = null
    return reason
  }
}

/**
 * Connects once.
 * @throws what kept it from connecting, `signal`'s abort included
 */
export async function openLink(
  options: AmqpConnectionOptions,
  { signal, onBlocked }: { signal: AbortSignal; onBlocked: (reason: string | null) => void },
): Promise<AmqpLink> {
  const { connectMs = 10_000, heartbeatS = 10 } = options
  const url = new URL(options.url)
  if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', String(heartbeatS))

  // amqplib keeps its socket to itself, and a lost connection half open: by this signal it can be destroyed.
  const socket = new AbortController()
  let reason: string | null = null
  const fail = (why: string): void => {
    reason ??= why
    socket.abort()
  }
  const onStop = (): void => fail('stopped')
  const deadline = setTimeout(() => fail(`no answer within ${connectMs} ms`), connectMs)
  signal.addEventListener('abort', onStop)
  let model: ChannelModel
  try {
    signal.throwIfAborted()
    // Handed on to net.connect; amqplib's types name the options of TLS only.
    const socketOptions = {
      noDelay: true,
      keepAlive: true,
      clientProperties: { connection_name: options.connectionName ?? 'livemessages' },
      signal: socket.signal,
    }
    model = await connect(url.href, socketOptions)
  } catch (error) {
    socket.abort()
    throw new Error(reason ?? messageOf(error), { cause: error })
  } finally {
    clearTimeout(deadline)
    signal.removeEventListener('abort', onStop)
  }

  const over = new AbortController()
  const ended = new Promise<string>((resolve) => {
    model.on('error', (error) => (reason ??= messageOf(error)))
    model.on('close', (error) => {
      reason ??= error ? messageOf(error) : 'closed'
      over.abort()
      socket.abort()
      resolve(reason)
    })
  })
  model.on('blocked', (why) => onBlocked(why))
  model.on('unblocked', () => onBlocked(null))
  return {
    signal: over.signal,
    ended,
    createChannel: () => model.createChannel(),
    createConfirmChannel: () => model.createConfirmChannel(),
    fail,
    close: async (closeMs) => {
      if (!over.signal.aborted) {
        reason ??= 'closed'
        const late = setTimeout(() => socket.abort(), closeMs)
        await Promise.race([model.close(), ended])
        clearTimeout(late)
      }
      await ended
    },
  }
}
