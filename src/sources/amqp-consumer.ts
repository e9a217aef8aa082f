import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { AmqpLink, Channel, ConsumeMessage } from './amqp-connection.ts'
import type { DeadLetters } from './amqp-dead-letters.ts'
import { decodeDelivery } from './amqp-delivery.ts'
import { attempt } from './attempts.ts'
import type { Failure } from './attempts.ts'
import { openQueue } from './amqp-topology.ts'
import type { QueueSpec } from './amqp-topology.ts'
import { backoffMs, pause, isSettled } from './backoff.ts'
import type { Retry } from './backoff.ts'
import { Lane } from './lane.ts'
import type { MaybePromise, Notification, SourceHandlers } from './source.ts'
import { Stall } from './stall.ts'

export interface ConsumerOptions {
  readonly exchange: string
  readonly prefetch: number
  readonly maxAttempts: number
  readonly maxDeliveries: number
  readonly stallMs: number
  readonly retry: Retry
  readonly drainMs: number
  readonly closeMs: number
  /** How long the broker may take to begin to deliver. */
  readonly openMs: number
  readonly log: Log
  readonly deadLetters: DeadLetters
  readonly handlers: SourceHandlers
  /** It consumes (null), or doesn't, and why. */
  readonly onState: (reason: string | null) => void
  /** Its first message holds up those behind it, and why; or no longer: null. */
  readonly onStall: (reason: string | null) => void
}

/** One stay on a channel. What it delivered can be acknowledged there only. */
interface Session {
  readonly channel: Channel
  /** Aborted when the channel is closed, or the consumer stops. */
  readonly over: AbortController
  /** Nothing was handled yet: what is first now was first when the last session ended. */
  fresh: boolean
  /** The newest message that is done with and not acknowledged. */
  done: ConsumeMessage | null
}

interface Delivery {
  readonly message: ConsumeMessage
  readonly session: Session
}

/** Consumes one subsystem's queue, one message at a time and in order, on a channel of its own. */
export class QueueConsumer {
  readonly spec: QueueSpec
  readonly #options: ConsumerOptions
  readonly #lane = new Lane<Delivery>((delivery) => this.#hand(delivery))
  readonly #stopped = new AbortController()
  #session: Session | null = null
  #link: AmqpLink | null = null
  #running: Promise<void> = Promise.resolve()
  /** Channels that this process lost: each gave what was in flight one more delivery. */
  #losses = 0

  constructor(spec: QueueSpec, options: ConsumerOptions) {
    this.spec = spec
    this.#options = options
  }

  /** Consumes on this connection as long as it lives; resolves after the first attempt. */
  attach(link: AmqpLink): Promise<void> {
    return new Promise((resolve) => {
      this.#link = link
      this.#running = this.#running.then(() => this.#run(link, resolve))
    })
  }

  /** Finishes what is in hand; the rest goes back to the queue, in its order. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    const session = this.#session
    session?.over.abort()
    this.#lane.clear()
    await this.#lane.idle(this.#options.drainMs)
    // A broker that does not even answer this is as good as gone.
    const late = setTimeout(() => this.#link?.fail('no answer to a close'), this.#options.closeMs)
    if (session && this.#session === session) {
      this.#acknowledge(session)
      // Without a cancel before: another consumer would get later messages before these have gone back.
      await this.#close(session.channel)
    }
    await this.#running
    clearTimeout(late)
  }

  async #run(link: AmqpLink, first: () => void): Promise<void> {
    const { retry, onState } = this.#options
    const signal = AbortSignal.any([link.signal, this.#stopped.signal])
    for (let attempt = 0; !signal.aborted; attempt++) {
      const began = Date.now()
      let reason: string
      try {
        reason = await this.#consume(link, first)
      } catch (error) {
        reason = messageOf(error)
      }
      if (signal.aborted) break
      onState(`subsystem ${this.spec.subsystem}: ${reason}`)
      first()
      if (isSettled(began, retry)) attempt = 0
      await pause(backoffMs(attempt, retry), signal)
    }
    first()
  }

  /** Resolves with the reason when the channel is closed. */
  async #consume(link: AmqpLink, first: () => void): Promise<string> {
    const { exchange, prefetch, openMs, handlers, onState } = this.#options
    const { queue } = this.spec
    let reason: string | null = null
    let deleted = false
    let closed: Promise<void> | undefined
    const channel = await openQueue(link, exchange, this.spec, (opened) => {
      opened.on('error', (error) => (reason ??= error.message))
      closed = new Promise((resolve) => opened.once('close', () => resolve()))
    })
    const session: Session = { channel, over: new AbortController(), fresh: true, done: null }
    this.#session = session
    // A quorum queue that was new when the broker crashed may never answer again. The others go on meanwhile: the
    // question stays asked, and the connection's end, or ours, is its end too.
    const late = setTimeout(() => {
      onState(`subsystem ${this.spec.subsystem}: queue ${queue}: no answer within ${openMs} ms`)
      first()
    }, openMs)
    try {
      await channel.prefetch(prefetch)
      await channel.consume(queue, (message) => {
        if (message) {
          if (!session.over.signal.aborted) this.#lane.push({ message, session })
          return
        }
        deleted = true
        reason ??= `queue ${queue} was deleted`
        void this.#close(channel)
      })
      clearTimeout(late)
      if (this.#stopped.signal.aborted) await this.#close(channel)
      else onState(null)
      first()
      await closed
      this.#losses++
    } catch (error) {
      reason ??= messageOf(error)
      await this.#close(channel)
    } finally {
      clearTimeout(late)
    }
    session.over.abort()
    this.#session = null
    this.#lane.clear()
    // Whatever was in the queue went with it.
    if (deleted) handlers.onGap()
    return reason ?? 'the channel was closed'
  }

  async #close(channel: Channel): Promise<void> {
    // When the connection goes meanwhile, amqplib leaves the caller of `close` without an answer.
    const gone = new Promise<void>((resolve) => channel.once('close', () => resolve()))
    try {
      await Promise.race([channel.close(), gone])
    } catch (error) {
      this.#options.log.debug({ reason: messageOf(error) }, 'channel was closed already')
    }
  }

  #hand({ message, session }: Delivery): MaybePromise<void> {
    // Its channel is gone: it comes again.
    if (session.over.signal.aborted) return undefined
    const fresh = session.fresh
    session.fresh = false
    const redelivered = Number(message.properties.headers?.['x-delivery-count'] ?? 0) - this.#losses
    if (fresh && redelivered >= this.#options.maxDeliveries) {
      // Only the first of a session is suspect: those behind it were delivered as often, but never handled.
      const why = `${redelivered} times a process ended with this message in hand`
      return this.#refuse({ message, session }, 'redelivered_too_often', why, redelivered)
    }
    const notification = decodeDelivery(message, this.spec.subsystem)
    if ('code' in notification) {
      return this.#refuse({ message, session }, notification.code, notification.message, 1)
    }
    let work: MaybePromise<void>
    try {
      work = this.#options.handlers.onNotification(notification)
    } catch (error) {
      work = Promise.reject(error)
    }
    if (work) return this.#finish({ message, session }, notification, work)
    this.#done({ message, session })
    return undefined
  }

  async #finish(delivery: Delivery, notification: Notification, work: Promise<void>): Promise<void> {
    const { handlers, maxAttempts, retry } = this.#options
    const { signal } = delivery.session.over
    const stall = this.#stall()
    const outcome = await attempt(handlers, notification, work, { maxAttempts, retry, signal, stall })
    if (outcome === 'handled') this.#done(delivery)
    else if (outcome !== 'abandoned') await this.#bury(delivery, outcome, stall)
    stall.end()
  }

  async #refuse(delivery: Delivery, code: string, message: string, attempts: number): Promise<void> {
    const stall = this.#stall()
    await this.#bury(delivery, { code, message, attempts }, stall)
    stall.end()
  }

  /**
   * Until the broker has it, or the session is over and it comes again: the next acknowledgement stands for all
   * before it, so that the lane must not go on without.
   */
  async #bury(delivery: Delivery, failure: Failure, stall: Stall): Promise<void> {
    const { deadLetters, handlers, retry } = this.#options
    const { signal } = delivery.session.over
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        await deadLetters.send(delivery.message, failure)
        this.#done(delivery)
        handlers.onReject(failure.code, failure.message, delivery.message.fields.routingKey)
        return
      } catch (error) {
        stall.failed(`exchange ${deadLetters.name} does not take its dead letter: ${messageOf(error)}`)
      }
      await pause(backoffMs(tries, retry), signal)
    }
  }

  #stall(): Stall {
    const { stallMs, onStall } = this.#options
    return new Stall({ stallMs, onStall })
  }

  /** Acknowledged once per turn of the event loop: the order makes one tag stand for all before it. */
  #done({ message, session }: Delivery): void {
    if (session.done === null) setImmediate(() => this.#acknowledge(session))
    session.done = message
  }

  #acknowledge(session: Session): void {
    const { done } = session
    session.done = null
    if (!done || this.#session !== session) return
    try {
      session.channel.ack(done, true)
    } catch (error) {
      // The channel was closed in this very turn: what it delivered comes again.
      this.#options.log.debug({ reason: messageOf(error) }, 'acknowledgement came too late')
    }
  }
}
