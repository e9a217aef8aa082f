import type { Notifications, Seat } from '../database/notifications.ts'
import { createDatabase, type DatabasePool } from '../database/pool.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Carrier, CarrierHandlers } from './carrier.ts'
import { within } from './deadline.ts'
import { LetterBox } from './letter-box.ts'
import type { Parting } from './outbox.ts'

export interface PostgresCarrierOptions {
  /** The node's one LISTEN connection. Whoever made it starts and stops it. */
  readonly notifications: Notifications
  /** For a connection of its own, by which letters leave. */
  readonly url: string
  /**
   * Letters go through a table, and NOTIFYs only name the rows: no other role can overhear them, nor make them up.
   * @default false
   */
  readonly sealed?: boolean
  readonly log: Log
  /** Time for one statement. @default 5000 */
  readonly statementMs?: number
  /** The largest letter that is taken in. @default 8 MiB */
  readonly maxLetterBytes?: number
}

/** The NOTIFY name between nodes. */
export const BUS_NOTIFY = 'livemessages_bus'

/** PostgreSQL refuses payloads of 8,000 bytes. */
const PACKET_BYTES = 7_900

/** How long a stop waits for the server. */
const CLOSE_MS = 1_000

/** In no JSON, and in no word beside it: what separates the texts of one parameter. pg would escape an array's. */
const SEPARATOR = '\u0001'

const SEND = `select pg_notify('${BUS_NOTIFY}', packet) from unnest(string_to_array($1, E'\\x01')) packet`

// Ids are given in the order of the rows, for the sort comes first; NOTIFYs come in the order of the calls.
const STORE = `
  with stored as (
    insert into livemessage.letter (time, body)
    select now(), packet from unnest(string_to_array($1, E'\\x01')) with ordinality list(packet, n) order by n
    returning id
  )
  select pg_notify('${BUS_NOTIFY}', '@' || id) from (select id from stored order by id) stored`

const READ = `
  select id, body from livemessage.letter
  where id = any($1::bigint[]) and octet_length(body) <= $2 and time > now() - $3 * interval '1 ms'`

/** A letter's time is that of its statement's beginning, which may take as long. */
const SLACK_MS = 10_000

/**
 * Packets by NOTIFY: many in one statement, one statement at a time. Those that a NOTIFY can't hold go through the
 * unlogged table livemessage.letter, whose rows housekeeping deletes.
 */
export class PostgresCarrier implements Carrier {
  readonly kind = 'postgres'
  readonly packetBytes = PACKET_BYTES
  readonly packetsAtOnce = 64
  readonly sealed: boolean
  readonly #options: PostgresCarrierOptions
  readonly #pool: DatabasePool
  #box: LetterBox | null = null
  #startedAt = 0
  #seat: Seat | null = null
  /** Statements under way. */
  readonly #asked = new Set<AbortController>()
  /** Ends the wait for a first attempt. */
  #settle: () => void = () => undefined

  constructor(options: PostgresCarrierOptions) {
    this.#options = options
    this.sealed = options.sealed ?? false
    this.#pool = createDatabase({
      url: options.url,
      applicationName: 'livemessages bus',
      minConnections: 1,
      // One writes; the other is opened when there is something to read meanwhile.
      maxConnections: 2,
      cleanupTimeoutMs: 10_000,
      log: options.log.child({ bus: 'postgres' }),
      quiet: true,
      stopMs: CLOSE_MS,
    })
  }

  start(handlers: CarrierHandlers): Promise<void> {
    const { sealed } = this
    const { notifications, maxLetterBytes = 8 * 1024 ** 2 } = this.#options
    this.#startedAt = performance.now()
    const box = new LetterBox({
      read: (ids) => this.#read(ids, maxLetterBytes),
      onPacket: (text) => handlers.onPacket(text),
      onLost: (reason) => handlers.onLost(reason),
      sealed,
    })
    this.#box = box
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#seat = notifications.join([BUS_NOTIFY], {
        onNotify: (_name, payload) => box.put(payload),
        onUp: () => {
          handlers.onUp()
          resolve()
        },
        onDown: (reason) => {
          handlers.onDown(reason)
          resolve()
        },
      })
    })
  }

  async write(packets: readonly Parting[]): Promise<void> {
    const { sealed } = this
    for (let start = 0; start < packets.length;) {
      const stored = sealed || packets[start]!.large
      let end = start + 1
      while (end < packets.length && (sealed || packets[end]!.large) === stored) end++
      const texts = packets.slice(start, end).map(({ text }) => text)
      await this.#query(stored ? STORE : SEND, [texts.join(SEPARATOR)])
      start = end
    }
  }

  async stop(): Promise<void> {
    this.#settle()
    this.#box?.close()
    for (const asked of this.#asked) asked.abort()
    // A server that does not answer keeps the name until the connection ends: nobody waits for that.
    const left = this.#seat?.leave() ?? Promise.resolve()
    await Promise.all([within(left, CLOSE_MS), within(this.#pool.stop(), 2 * CLOSE_MS)])
  }

  /** Of those that are there and not too large; none from before we were there, which somebody only says again. */
  async #read(ids: readonly number[], maxBytes: number): Promise<ReadonlyMap<number, string>> {
    const rows = await this.#query<{ id: string; body: string }>(READ, [
      ids,
      maxBytes,
      Math.round(performance.now() - this.#startedAt) + SLACK_MS,
    ])
    return new Map(rows.map(({ id, body }) => [Number(id), body]))
  }

  async #query<Row extends Record<string, unknown>>(text: string, values: unknown[]): Promise<Row[]> {
    const { statementMs = 5_000 } = this.#options
    const asked = new AbortController()
    const deadline = setTimeout(() => asked.abort(), statementMs)
    this.#asked.add(asked)
    try {
      return (await this.#pool.withSignal(asked.signal).query<Row>(text, values)).rows
    } catch (error) {
      if (asked.signal.aborted) throw new Error(`no answer within ${statementMs} ms`, { cause: error })
      // The pool's own error says nothing of the reason.
      const cause = error instanceof Error ? (error.cause ?? error) : error
      throw new Error(messageOf(cause), { cause: error })
    } finally {
      clearTimeout(deadline)
      this.#asked.delete(asked)
    }
  }
}
