import { setImmediate } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { AmqpLink, Channel } from '../broker/connection.ts'
import type { DeadLetters } from './amqp-dead-letters.ts'
import { decodeDelivery } from './amqp-delivery.ts'
import { Session } from './amqp-session.ts'
import type { Delivery } from './amqp-session.ts'
import { attempt, handOver } from './attempts.ts'
import type { Failure } from './attempts.ts'
import { openQueue } from './amqp-topology.ts'
import type { QueueSpec } from './amqp-topology.ts'
import { backoffMs, pause, isSettled } from '../backoff.ts'
import type { Retry } from '../backoff.ts'
import { Lane } from './lane.ts'
import type { MaybePromise, Notification, SourceHandlers, Taken } from './source.ts'
import { Stall } from './stall.ts'
import type { Watch } from './stall.ts'

export interface ConsumerOptions {
  readonly exchange: string
  readonly prefetch: number
  /** The largest body that is looked at. */
  readonly maxBodyBytes: () => number
  /** Bodies that are handed over and not yet kept. */
  readonly maxInHandBytes: number
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
  /** One of its messages holds up those behind it, and why; or no longer: null. */
  readonly onStall: (reason: string | null) => void
}

/**
 * A message that came back so often is handled alone: it may be what ends the process, and those before it would
 * never be acknowledged.
 */
const SUSPECT_DELIVERIES = 3

/**
 * Consumes one subsystem's queue, in order, on a channel of its own. The next message is handed over when the place of
 * the one before it is settled; up to `prefetch` of them may be on their way into the journal.
 */
export class QueueConsumer {
  readonly spec: QueueSpec
  readonly #options: ConsumerOptions
  readonly #lane = new Lane<Delivery>((delivery) => this.#hand(delivery))
  readonly #stall: Stall
  readonly #stopped = new AbortController()
  #session: Session | null = null
  #link: AmqpLink | null = null
  #running: Promise<void> = Promise.resolve()
  /** Channels that this process lost: each gave what was in flight one more delivery. */
  #losses = 0
  /** Handed over and not yet done with, and of which session. */
  #inHand = 0
  #inHandBytes = 0
  #inHandOf: Session | null = null
  /** Something left the hand, or the session is over. */
  #onRoom: (() => void) | null = null

  constructor(spec: QueueSpec, options: ConsumerOptions) {
    this.spec = spec
    this.#options = options
    this.#stall = new Stall(options)
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
    if (session) this.#end(session)
    await this.#lane.idle(this.#options.drainMs)
    // A broker that does not even answer this is as good as gone.
    const late = setTimeout(() => this.#link?.fail('no answer to a close'), this.#options.closeMs)
    if (session && this.#session === session) {
      session.acknowledge()
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
    const session = new Session(channel, this.#options.log)
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
    this.#session = null
    this.#end(session)
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

  /** Nothing more of it is handed over. */
  #end(session: Session): void {
    session.over.abort()
    this.#lane.clear()
    this.#onRoom?.()
  }

  /** @param alone nothing else is in hand, and all before it is acknowledged */
  #hand(delivery: Delivery, alone = false): MaybePromise<Taken | void> {
    const { maxDeliveries, maxBodyBytes, handlers } = this.#options
    const { message, session } = delivery
    // Its channel is gone: it comes again.
    if (session.over.signal.aborted) return undefined
    const redelivered = Number(message.properties.headers?.['x-delivery-count'] ?? 0) - this.#losses
    if (redelivered >= SUSPECT_DELIVERIES && !alone) {
      return this.#clear(session).then(() => this.#hand(delivery, true))
    }
    if (!this.#hasRoom(session)) return this.#room(session).then(() => this.#hand(delivery, alone))
    const fresh = session.fresh
    session.fresh = false
    session.open(delivery)
    if (fresh && redelivered >= maxDeliveries) {
      // Only the first of a session is suspect: those behind it were delivered as often, but never handled.
      const why = `${redelivered} times a process ended with this message in hand`
      return this.#refuse(delivery, 'redelivered_too_often', why, redelivered)
    }
    const bytes = message.content.length
    if (bytes > maxBodyBytes()) {
      return this.#refuse(delivery, 'too_large', `the body has ${bytes} bytes, over ${maxBodyBytes()}`, 1)
    }
    const notification = decodeDelivery(message, this.spec.subsystem)
    if ('code' in notification) return this.#refuse(delivery, notification.code, notification.message, 1)
    const work = handOver(handlers, notification)
    if (work) return this.#follow(delivery, notification, work, alone)
    session.settle(delivery)
    return undefined
  }

  #follow(
    delivery: Delivery,
    notification: Notification,
    work: Taken | Promise<Taken | void>,
    alone: boolean,
  ): MaybePromise<Taken | void> {
    const { handlers, maxAttempts, retry } = this.#options
    const { session, message } = delivery
    const watch = this.#stall.watch()
    this.#inHand++
    this.#inHandBytes += message.content.length
    this.#inHandOf = session
    const taken = attempt(handlers, notification, work, {
      maxAttempts,
      retry,
      signal: session.over.signal,
      watch,
      finish: async (outcome) => {
        if (outcome === 'handled') session.settle(delivery)
        else if (outcome !== 'abandoned') await this.#bury(delivery, outcome, watch)
        watch.end()
        this.#inHand--
        this.#inHandBytes -= message.content.length
        this.#onRoom?.()
      },
    })
    if (!alone) return taken
    return taken instanceof Promise ? taken.then((settled) => settled?.kept) : taken?.kept
  }

  async #refuse(delivery: Delivery, code: string, message: string, attempts: number): Promise<void> {
    const watch = this.#stall.watch()
    await this.#bury(delivery, { code, message, attempts }, watch)
    watch.end()
  }

  /**
   * Until the broker has it, or the session is over and it comes again: nothing behind it is acknowledged before.
   */
  async #bury(delivery: Delivery, failure: Failure, watch: Watch): Promise<void> {
    const { deadLetters, handlers, retry } = this.#options
    const { signal } = delivery.session.over
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        await deadLetters.send(delivery.message, failure)
        delivery.session.settle(delivery)
        handlers.onReject({ ...failure, place: delivery.message.fields.routingKey })
        return
      } catch (error) {
        watch.failed(`exchange ${deadLetters.name} does not take its dead letter: ${messageOf(error)}`)
      }
      await pause(backoffMs(tries, retry), signal)
    }
  }

  /** What a former session left in hand is waited for: in this one it comes first, and again. */
  #hasRoom(session: Session): boolean {
    if (this.#inHand === 0) return true
    return this.#inHandOf === session && this.#inHandBytes < this.#options.maxInHandBytes
  }

  /** Resolves when there is room, or the session is over. */
  async #room(session: Session): Promise<void> {
    while (!session.over.signal.aborted && !this.#hasRoom(session)) await this.#change()
  }

  /** Resolves when nothing is in hand and all is acknowledged, or the session is over. */
  async #clear(session: Session): Promise<void> {
    while (!session.over.signal.aborted && this.#inHand > 0) await this.#change()
    session.acknowledge()
    // amqplib writes in a later turn of the event loop: what comes next may be what ends the process.
    await setImmediate()
    await setImmediate()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRoom = () => {
        this.#onRoom = null
        resolve()
      }
    })
  }
}
