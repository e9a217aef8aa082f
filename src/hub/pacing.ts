import type { Limits } from '../config/config.ts'
import type { MaybePromise } from '../sources/source.ts'
import type { Client } from './client.ts'

type Buffers = Pick<Limits, 'bufferBytes' | 'recoveryBytes'>

/** What may wait for a client before its next part is sent: far from what makes it too slow. */
export function highWaterOf({ bufferBytes }: Buffers): number {
  return bufferBytes / 4
}

/** How much goes into one answer, so that the answer alone makes nobody too slow. */
export function answerBytesOf(limits: Buffers): number {
  return Math.min(limits.recoveryBytes, highWaterOf(limits))
}

/** A promise, that resolves when the client has read on or is gone, where too much waits for it. */
export function paced(client: Client, limits: Buffers): MaybePromise<void> {
  return client.link.bufferedBytes > highWaterOf(limits)
    ? drainedBelow(client, highWaterOf(limits))
    : undefined
}

/** How many of these messages go into a `subscribed` frame. */
export function fitting(
  messages: readonly { readonly message: string }[],
  limits: Buffers & Pick<Limits, 'recoveryMessages'>,
): number {
  const bytes = answerBytesOf(limits)
  let size = 0
  let count = 0
  for (const { message } of messages) {
    size += message.length
    if (size > bytes || count === limits.recoveryMessages) break
    count++
  }
  return count
}

async function drainedBelow(client: Client, bytes: number): Promise<void> {
  while (client.open && client.link.bufferedBytes > bytes) await client.drained()
}
