import { AmqpConnection, type AmqpLink, type Channel } from '../broker/connection.ts'
import type { Retry } from '../backoff.ts'
import type { Carrier, CarrierHandlers } from './carrier.ts'
import { within } from './deadline.ts'
import type { Parting } from './outbox.ts'

export interface AmqpCarrierOptions {
  readonly url: string
  /** The exchange's name begins with it: `<exchange>.bus`. */
  readonly exchange: string
  readonly retry?: Retry
  /** Time to connect. @default 10000 */
  readonly connectMs?: number
  /** AMQP heartbeat, in seconds. @default 10 */
  readonly heartbeatS?: number
}

/** What may wait at the broker for a node that does not read: the oldest goes then, and the node sees the gap. */
const QUEUE_BYTES = 64 * 1024 ** 2

/** How long a stop waits for the broker. */
const CLOSE_MS = 1_000

/** Packets through a fanout exchange, to a queue of each node's own that goes with its connection. */
export class AmqpCarrier implements Carrier {
  readonly kind = 'rabbitmq'
  readonly sealed = false
  readonly packetBytes = 64 * 1024
  readonly packetsAtOnce = 16
  readonly #exchange: string
  readonly #connection: AmqpConnection
  /** Where packets leave, and what ends with it; null while there is none. */
  #way: { readonly channel: Channel; readonly link: AmqpLink } | null = null
  #stopping = false

  constructor({ exchange, ...options }: AmqpCarrierOptions) {
    this.#exchange = `${exchange}.bus`
    this.#connection = new AmqpConnection({ connectionName: 'livemessages bus', ...options })
  }

  start(handlers: CarrierHandlers): Promise<void> {
    let blocked = false
    return this.#connection.start({
      onOpen: async (link) => {
        const channel = await link.createChannel()
        channel.on('error', (error) => link.fail(error.message))
        channel.on('close', () => {
          if (!this.#stopping) link.fail('the channel was closed')
        })
        await channel.assertExchange(this.#exchange, 'fanout', { durable: false })
        // A name of the broker's making: the last connection's queue may not be gone yet.
        const { queue } = await channel.assertQueue('', {
          exclusive: true,
          autoDelete: true,
          durable: false,
          arguments: { 'x-max-length-bytes': QUEUE_BYTES },
        })
        await channel.bindQueue(queue, this.#exchange, '')
        await channel.consume(
          queue,
          (message) => {
            if (message === null) link.fail('the queue was deleted')
            else handlers.onPacket(message.content.toString('utf8'))
          },
          { noAck: true },
        )
        this.#way = { channel, link }
        blocked = false
        handlers.onUp()
      },
      onDown: (reason) => {
        this.#way = null
        handlers.onDown(reason)
      },
      onBlocked: (reason) => {
        if (reason !== null) handlers.onDown(`the broker takes nothing: ${reason}`)
        else if (blocked && this.#way !== null) handlers.onUp()
        blocked = reason !== null
      },
    })
  }

  async write(packets: readonly Parting[]): Promise<void> {
    const way = this.#way
    if (way === null) throw new Error('not connected')
    const { channel, link } = way
    for (const { text } of packets) {
      // False: it is taken all the same, but no more is wanted for now.
      if (channel.publish(this.#exchange, '', Buffer.from(text))) continue
      const drained = new Promise<null>((resolve) => channel.once('drain', () => resolve(null)))
      const reason = await Promise.race([drained, link.ended])
      if (reason !== null) throw new Error(reason)
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true
    const way = this.#way
    this.#way = null
    // The connection's good-bye could overtake what the channel has still to say.
    if (way !== null) await within(way.channel.close(), CLOSE_MS)
    await this.#connection.stop()
  }
}
