import { createHash } from 'node:crypto'
import { type Channel, type GetMessage, openLink } from '../broker/connection.ts'
import { deadExchange } from '../broker/dead-exchange.ts'
import { decodeLetter } from '../broker/dead-message.ts'
import { isNotFound } from '../broker/queue.ts'
import { isWanted } from '../dead-letter.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import { type KeptLetter, type LetterStore, type Selection, Stays } from './letter-store.ts'

export interface LetterQueueOptions {
  readonly url: string
  /** The topic exchange of the living. */
  readonly exchange: string
  /** Letters and bytes of bodies that are looked at. @default 1000, 64 MiB */
  readonly maxLetters?: number
  readonly maxBytes?: number
}

/**
 * The letters of the broker's queue, for who has no table. A queue can't be read, only taken from: so its first letters
 * are taken without an acknowledgement, and go back when the channel is closed, to the front and in their order. While
 * they are out nobody else sees them. Of a longer queue only the first letters are seen, and those then go behind
 * others that were taken and put back before.
 * @throws {LivemessageError} BROKER_UNREACHABLE
 */
export async function letterQueue(options: LetterQueueOptions): Promise<LetterStore> {
  const { url, exchange, maxLetters = 1000, maxBytes = 64 * 1024 * 1024 } = options
  const queue = deadExchange(exchange)
  const place = `queue ${queue}`
  const server = new URL(url).host
  const link = await openLink(
    { url, connectionName: 'livemessages dead' },
    {
      signal: new AbortController().signal,
      onBlocked: () => undefined, // it only takes
    },
  ).catch((error: unknown) => {
    throw unreachable(`no connection to the broker at ${server}: ${messageOf(error)}`, error)
  })

  /** Takes the first letters; `putBack` is a must. */
  const take = async (most: number): Promise<Taken> => {
    const channel = await link.createChannel()
    channel.on('error', () => {}) // the same error rejects what was asked
    const messages = new Map<KeptLetter, GetMessage>()
    let settled = false
    const putBack = async (): Promise<void> => {
      if (link.signal.aborted) return // that has put them back
      // A quorum queue may overlook acknowledgements when their channel is closed at once
      // (rabbitmq-server #10327): it answers this question after them.
      if (settled) await channel.get(queue)
      await channel.close()
    }
    try {
      const count = await countOf(channel, queue)
      if (count === null)
        return { letters: [], more: 0, settle: () => undefined, putBack: async () => undefined }
      for (let bytes = 0; messages.size < Math.min(most, count) && bytes < maxBytes;) {
        const message = await channel.get(queue)
        if (message === false) break
        const letter = keptLetter(message)
        messages.set(letter, message)
        bytes += letter.bytes
      }
      const settle = (letter: KeptLetter): void => {
        const message = messages.get(letter)
        if (message) channel.ack(message)
        settled = true
      }
      return { letters: [...messages.keys()], more: count - messages.size, settle, putBack }
    } catch (error) {
      await putBack()
      throw unreachable(`${place} at ${server}: ${messageOf(error)}`, error)
    }
  }

  return {
    place,
    async list(filter, limit) {
      const { letters, more, putBack } = await take(Math.max(maxLetters, limit))
      await putBack()
      const wanted = letters.filter((letter) => isWanted(letter, filter))
      return {
        letters: wanted.slice(0, limit).map((letter) => ({ ...letter, body: null })),
        total: wanted.length,
        note: more > 0 ? `${more} more in the ${place} were not looked at` : null,
      }
    },
    async find(id) {
      const { letters, putBack } = await take(maxLetters)
      await putBack()
      return pick(letters, [id], place)[0]!
    },
    async *settle(selection: Selection, work) {
      const { letters, settle, putBack } = await take(maxLetters)
      try {
        for (const letter of choose(letters, selection, place)) {
          try {
            const done = await work(letter, null)
            settle(letter)
            yield { letter, done }
          } catch (error) {
            if (!(error instanceof Stays)) throw error
            yield { letter, stays: error.message }
          }
        }
      } finally {
        await putBack()
      }
    },
    close: () => link.close(1_000),
  }
}

interface Taken {
  readonly letters: readonly KeptLetter[]
  /** Those behind them, not looked at. */
  readonly more: number
  settle(letter: KeptLetter): void
  /** What was not settled. */
  putBack(): Promise<void>
}

/** Null where there is no such queue, and so no letter. */
async function countOf(channel: Channel, queue: string): Promise<number | null> {
  try {
    return (await channel.checkQueue(queue)).messageCount
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
}

function keptLetter(message: GetMessage): KeptLetter {
  const letter = decodeLetter(message)
  // What the broker itself put there has no id: what it says is one, as long as no two say the same.
  const id =
    letter.key ??
    createHash('sha256')
      .update(
        JSON.stringify([
          letter.name,
          letter.headers,
          letter.properties,
          message.properties.headers?.['x-death'],
        ]),
      )
      .update(message.content)
      .digest('hex')
  return {
    ...letter,
    id: id.slice(0, ID_LENGTH),
    time: letter.time ?? deathTime(message),
    bytes: message.content.length,
  }
}

const ID_LENGTH = 13

/** Of the beginning of an id: less would be said by mistake. */
const MIN_ID_LENGTH = 6

function deathTime(message: GetMessage): number | null {
  const [death]: readonly unknown[] = message.properties.headers?.['x-death'] ?? []
  const { time } = (death ?? {}) as { readonly time?: { readonly value?: unknown } }
  return typeof time?.value === 'number' ? time.value * 1000 : null
}

function choose(letters: readonly KeptLetter[], selection: Selection, place: string): readonly KeptLetter[] {
  if ('ids' in selection) return pick(letters, selection.ids, place)
  return letters.filter((letter) => isWanted(letter, selection.filter))
}

/** Those of these ids or beginnings of ids, in the queue's order. */
function pick(letters: readonly KeptLetter[], ids: readonly string[], place: string): readonly KeptLetter[] {
  const means = (letter: KeptLetter, id: string): boolean =>
    letter.id === id || (id.length >= MIN_ID_LENGTH && letter.id.startsWith(id))
  const matches = new Map(ids.map((id) => [id, letters.filter((letter) => means(letter, id))]))
  const missing = ids.filter((id) => matches.get(id)?.length === 0)
  if (missing.length > 0) throw notFound(missing, place)
  for (const [id, found] of matches) {
    if (new Set(found.map((letter) => letter.id)).size === 1) continue
    throw new LivemessageError(
      'USAGE',
      `${id} may be ${found.map((letter) => letter.id).join(' or ')}: say more of it`,
    )
  }
  const chosen = new Set([...matches.values()].map((found) => found[0]!))
  return letters.filter((letter) => chosen.has(letter))
}

function notFound(ids: readonly string[], place: string): LivemessageError {
  return new LivemessageError(
    'LETTER_NOT_FOUND',
    `the ${place} has no letter ${ids.join(', ')} among its first: 'livemessage dead list' shows their ids`,
  )
}

function unreachable(message: string, cause: unknown): LivemessageError {
  return new LivemessageError('BROKER_UNREACHABLE', message, { cause })
}
