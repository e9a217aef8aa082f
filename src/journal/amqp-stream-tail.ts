import type { AmqpLink, ConsumeMessage } from '../broker/connection.ts'

/** Where to begin to read: at an offset, at the beginning, or before a time (milliseconds since 1970). */
export type From = number | 'first' | { readonly before: number }

export interface TailOptions {
  readonly queue: string
  readonly from: From
  /** Messages that the broker sends ahead. */
  readonly readAhead: number
  onMessage(offset: number, content: Buffer): void
  /** Nothing comes any more, and it was not closed by us. */
  onEnd(reason: string): void
}

/** Reads a stream, on a channel of its own. */
export interface Tail {
  close(): void
}

/** @throws where the stream can't be read */
export async function openTail(link: AmqpLink, options: TailOptions): Promise<Tail> {
  const { queue, from, readAhead, onMessage, onEnd } = options
  const channel = await link.createChannel()
  let open = true
  let reason: string | null = null
  const end = (why: string): void => {
    if (!open) return
    open = false
    onEnd(why)
  }
  channel.on('error', (error) => (reason ??= error.message))
  channel.on('close', () => end(reason ?? 'the channel was closed'))
  let newest: ConsumeMessage | null = null
  const acknowledge = (): void => {
    if (open && newest !== null) channel.ack(newest, true)
    newest = null
  }
  await channel.prefetch(readAhead)
  await channel.consume(
    queue,
    (message) => {
      if (!open) return
      if (message === null) {
        end(`stream ${queue} was deleted, or has no leader`)
        return
      }
      onMessage(Number(message.properties.headers?.['x-stream-offset']), message.content)
      // It only lets more come: once per turn of the event loop, for all that came in it.
      if (newest === null) setImmediate(acknowledge)
      newest = message
    },
    { noAck: false, arguments: { 'x-stream-offset': offsetOf(from) } },
  )
  return {
    close: () => {
      if (!open) return
      open = false
      // The connection's end may be faster, and amqplib then gives no answer.
      channel.close().catch(() => undefined)
    },
  }
}

function offsetOf(from: From): unknown {
  // AMQP's timestamps are seconds; amqplib takes the type from this form.
  return typeof from === 'object' ? { '!': 'timestamp', value: Math.floor(from.before / 1000) } : from
}
