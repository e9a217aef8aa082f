import { ClientError } from '../protocol/codes.ts'
import type { Draft } from './journal.ts'

/** Of what is appended together. RabbitMQ 4 takes messages of 16 MiB; the difference is for what stands around it. */
export const MAX_UNIT_BYTES = 16_000_000

/** What stands beside a draft's texts, at the most. */
const DRAFT_BYTES = 48

/**
 * Nobody could hold, or send, what is larger: it is refused before it waits with others.
 * @throws {ClientError} `too_large`
 */
export function checkUnitSize(drafts: readonly Draft[], maxBytes: number): void {
  let bytes = 0
  for (const draft of drafts) bytes += sizeOf(draft)
  if (bytes <= maxBytes) return
  throw new ClientError(
    'too_large',
    `at most ${maxBytes} bytes can be published together, and these are ${bytes}: publish them one after another`,
  )
}

function sizeOf({ channel, json, exclude, key, mark }: Draft): number {
  let bytes = DRAFT_BYTES
  for (const text of [channel, json, exclude, key, mark])
    if (text !== undefined) bytes += Buffer.byteLength(text)
  return bytes
}
