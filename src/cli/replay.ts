import { encodeOriginal } from '../broker/dead-message.ts'
import { createReposter, type Reposter, Unroutable } from '../broker/repost.ts'
import type { BrokerConfig } from '../config/config.ts'
import { codeOf } from '../database/process.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { Database } from '../registry/define.ts'
import { type KeptLetter, Stays } from './letter-store.ts'

export interface ReplayOptions {
  readonly broker: BrokerConfig | null
  /** Opens another database of the same server. */
  readonly openDatabase: (name: string) => Promise<{ readonly db: Database; stop(): Promise<void> }>
}

/**
 * Gives letters back to where they came from. A letter's own database work is part of the transaction that deletes it;
 * a message is confirmed before. What dies in between is there twice, and never nowhere.
 */
export class Replay {
  readonly #options: ReplayOptions
  readonly #databases = new Map<string, Promise<{ readonly db: Database; stop(): Promise<void> }>>()
  #reposter: Promise<Reposter> | null = null

  constructor(options: ReplayOptions) {
    this.#options = options
  }

  /**
   * Resolves with what was done.
   * @throws {Stays} when it can't be done for this letter
   */
  async send(letter: KeptLetter, db: Database | null): Promise<string> {
    if (letter.body === null) throw new Stays('it has no body')
    if (letter.source === 'amqp') return this.#repost(letter)
    if (db === null) throw new Stays(`it came from ${letter.source}, and there is no database`)
    if (letter.channel === null && letter.name?.startsWith(PUBLISH_ROW) === true) {
      throw new Stays('a trigger named no channel for it: mend the trigger, publish it yourself, and drop it')
    }
    if (letter.channel !== null) return this.#publish(letter, letter.channel, db)
    return this.#notify(letter, db)
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled([...this.#databases.values()])
    for (const one of opened) if (one.status === 'fulfilled') await one.value.stop()
    const [reposter] = await Promise.allSettled([this.#reposter])
    if (reposter.status === 'fulfilled') await reposter.value?.close()
  }

  async #repost(letter: KeptLetter): Promise<string> {
    const { broker } = this.#options
    if (broker === null) throw new Stays('it came from RabbitMQ, and the config names no broker')
    const original = encodeOriginal(letter, broker.exchange)
    const server = new URL(broker.url).host
    try {
      this.#reposter ??= createReposter({ url: broker.url, connectionName: 'livemessages dead' })
      await (await this.#reposter).repost(original)
    } catch (error) {
      if (error instanceof Unroutable) throw new Stays(error.message, { cause: error })
      throw new LivemessageError('BROKER_UNREACHABLE', `the broker at ${server}: ${messageOf(error)}`, {
        cause: error,
      })
    }
    const { exchange, routingKey } = original
    return exchange === '' ? `to queue ${routingKey}` : `to exchange ${exchange}, routing key ${routingKey}`
  }

  async #publish(letter: KeptLetter, channel: string, db: Database): Promise<string> {
    if (!isChannel(channel)) throw new Stays(`'${channel}' is no channel: publish it yourself, and drop it`)
    const { rows } = await db.query<{ journaled: boolean }>(
      'SELECT journaled FROM livemessage.subsystem WHERE name = $1',
      [subsystemOf(channel)],
    )
    if (rows[0]?.journaled === false) await checkListener(db)
    // What a trigger published is the data alone; a NOTIFY has it beside the channel.
    const isBare = letter.headers?.['trigger'] !== undefined
    const data = isBare ? '$2::jsonb' : `$2::jsonb -> 'data'`
    try {
      await db.query(`SELECT livemessage.publish($1, ${data})`, [channel, textOf(letter)])
    } catch (error) {
      throw asStays(error)
    }
    return `published to ${channel}`
  }

  async #notify(letter: KeptLetter, own: Database): Promise<string> {
    if (letter.name === null) throw new Stays('it has neither a channel nor a NOTIFY name')
    const db = await this.#databaseOf(letter, own)
    await checkListener(db)
    try {
      await db.query('SELECT pg_notify($1, $2)', [letter.name, textOf(letter)])
    } catch (error) {
      throw asStays(error)
    }
    return `notified ${letter.name}${db === own ? '' : ` in database ${letter.database}`}`
  }

  async #databaseOf({ database }: KeptLetter, own: Database): Promise<Database> {
    if (database === null) return own
    const { rows } = await own.query<{ name: string }>('SELECT current_database() AS name')
    if (rows[0]?.name === database) return own
    let opened = this.#databases.get(database)
    if (opened === undefined) {
      opened = this.#options.openDatabase(database)
      this.#databases.set(database, opened)
    }
    return (await opened).db
  }
}

/** PostgreSQL keeps no NOTIFY for a listener that is away: the letter would be gone. */
async function checkListener(db: Database): Promise<void> {
  const { rows } = await db.query<{ listening: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
       AND application_name LIKE 'livemessages listen%') AS listening`,
  )
  if (rows[0]?.listening !== true)
    throw new Stays('no daemon listens in its database just now, and a NOTIFY would be lost')
}

function textOf({ body }: KeptLetter): string {
  const text = typeof body === 'string' ? body : (body?.toString() ?? '')
  if (text.includes('\0')) throw new Stays('its body has a NUL, which no NOTIFY has')
  return text
}

/** What the server says of this letter; where it can't be reached, or isn't migrated, none can be replayed. */
function asStays(error: unknown): unknown {
  return /^(22|23|54|P0)/.test(codeOf(error) ?? '') ? new Stays(messageOf(error), { cause: error }) : error
}

/** How letters of the trigger function are named. */
const PUBLISH_ROW = 'livemessage.publish_row '
