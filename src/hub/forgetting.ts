import type { Bus, Memo } from '../bus/bus.ts'
import type { Forgotten, Journal } from '../journal/journal.ts'
import { formatCursor } from '../journal/cursor.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { ClientError } from '../protocol/codes.ts'
import { isRecord } from '../protocol/json.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { Live } from '../rules.ts'
import { Calls, obeying } from './cluster-calls.ts'
import type { Key } from './conflated.ts'
import type { ForgettingUser, UserRecords } from './forgetting-user.ts'
import type { Hub } from './hub.ts'

export interface ForgettingDependencies {
  readonly live: Live
  readonly bus: Bus
  readonly hub: Pick<Hub, 'forget' | 'announceForgotten'>
  readonly journal: Journal
  readonly user: ForgettingUser
  /** What further databases have published and is not in the journal yet. */
  readonly outboxes: {
    forget(
      channels: readonly string[],
    ): Promise<{ readonly count: number; readonly missing: readonly string[] }>
  }
  readonly counts: Counts
  readonly log: Log
  /** How long the other nodes may take to say that they have forgotten, too. @default 2000 */
  readonly deadlineMs?: number
}

/** What was forgotten. */
export interface ForgottenCounts {
  /** Publications, and those of conflated channels, each key one. */
  readonly forgotten: number
  /** Dead letters. */
  readonly letters: number
  /**
   * Nodes that have not said in time that they have forgotten it: they do as soon as they follow the journal again. And
   * `database:<name>` of each database whose outbox could not be asked: what waits there comes yet.
   */
  readonly missing: readonly string[]
}

export type ForgottenUser = ForgottenCounts & UserRecords

/** What the other nodes are to forget. */
interface Order {
  readonly channels: readonly string[]
  /** Of conflated channels: this key; null: all. */
  readonly key: Key | null
  /** Null: what the journal says is all that there is to it. */
  readonly conflated: boolean
  readonly epoch: string
  /** The journal is to be followed up to here. */
  readonly position: number
}

/** So many channels go into one memo. */
const MAX_CHANNELS = 1000

/**
 * Forgets, on all nodes: in the journal first, which tells every node in its own order; then each is asked whether it has
 * come so far. Conflated channels are in the nodes' memory alone: who does not answer keeps them until their next values.
 */
export class Forgetting {
  readonly #deps: ForgettingDependencies
  readonly #calls: Calls

  constructor(deps: ForgettingDependencies) {
    const { bus, counts, log, deadlineMs = 2_000 } = deps
    this.#deps = deps
    this.#calls = new Calls({
      bus,
      topic: 'forget',
      deadlineMs,
      answer: obeying(decodeOrder, (order) => this.#obey(order)),
      counts,
      log,
    })
  }

  /**
   * Some publications of a channel, by their positions.
   * @throws {ClientError} invalid_input on a transient channel; as `Journal.forget`
   */
  async publications(channel: string, positions: readonly number[]): Promise<ForgottenCounts> {
    const { journal, log } = this.#deps
    if (!this.#isJournaled(channel)) {
      throw new ClientError('invalid_input', 'ids: a transient channel has no publications to be forgotten')
    }
    const { count, position } = await journal.forget({ channel, positions })
    const missing = await this.#tell({
      channels: [channel],
      key: null,
      conflated: false,
      epoch: journal.epoch,
      position,
    })
    log.info({ channel, asked: positions.length, forgotten: count, missing }, 'publications forgotten')
    return { forgotten: count, letters: 0, missing }
  }

  /**
   * All of a channel; of a conflated one a single key where that is said.
   * @throws {ClientError} as `Journal.forget`; invalid_input for a key of what is not conflated
   */
  async channel(channel: string, key: Key | null = null): Promise<ForgottenCounts> {
    if (key !== null && this.#deps.live.rules.config.channels.get(subsystemOf(channel))?.conflate == null) {
      throw new ClientError('invalid_input', 'key: only conflated channels have keys')
    }
    const counts = await this.#channels([channel], key)
    this.#deps.log.info({ channel, ...counts }, 'channel forgotten')
    return counts
  }

  /**
   * All that is kept of a user: what the subsystems' own `forget` hooks know of, the channels that are the user's own, and
   * the places in mailboxes. In this order: what a hook publishes is forgotten with the rest.
   * @throws {ClientError} invalid_input for no database of the config; as `channel`; what a hook throws
   */
  async user(user: string, database: string | null): Promise<ForgottenUser> {
    const { user: whose, log } = this.#deps
    const name = whose.databaseOf(database)
    const records = await whose.askHooks(user, name)
    const counts = await this.#channels(whose.channelsOf(user, name), null)
    const mailboxes = await whose.forgetMailboxes(user, name)
    const told = { ...counts, records, mailboxes }
    // Not whose they were: the log is kept longer.
    log.info(told, "a user's data forgotten")
    return told
  }

  /** For the journal's handlers: tells who is subscribed. */
  onForget({ channel, positions, more }: Forgotten): void {
    const { hub, journal } = this.#deps
    // Of several parts the last one says it for all.
    if (more) return
    const ids = positions?.map((position) => formatCursor(journal.epoch, position))
    hub.announceForgotten({ type: 'forgotten', channel, ...(ids === undefined ? {} : { ids }) })
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#calls.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    if (!here) this.#calls.onGone(node)
  }

  /** Nobody is waited for any more. Idempotent. */
  stop(): void {
    this.#calls.stop()
  }

  async #channels(channels: readonly string[], key: Key | null): Promise<ForgottenCounts> {
    const { journal, user, outboxes } = this.#deps
    // First: what is on its way is in the journal when this resolves.
    const waiting = key === null ? await outboxes.forget(channels) : { count: 0, missing: [] }
    let forgotten = waiting.count
    let letters = 0
    let position = 0
    for (const channel of channels) {
      if (key === null && this.#isJournaled(channel)) {
        const outcome = await journal.forget({ channel })
        forgotten += outcome.count
        position = Math.max(position, outcome.position)
      }
    }
    if (key === null) letters = await user.forgetLetters(channels)
    const missing = waiting.missing.map((database) => `database:${database}`)
    const { epoch } = journal
    forgotten += this.#drop(channels, key)
    for (let start = 0; start < channels.length; start += MAX_CHANNELS) {
      const some = channels.slice(start, start + MAX_CHANNELS)
      missing.push(...(await this.#tell({ channels: some, key, conflated: true, epoch, position })))
    }
    return { forgotten, letters, missing: [...new Set(missing)] }
  }

  async #tell(order: Order): Promise<readonly string[]> {
    const { missing } = await this.#calls.ask(order, (answer) => (answer === true ? true : null))
    return missing
  }

  /** What another node asks of this one. Resolves when nothing here gives it any more. */
  async #obey({ channels, key, conflated, epoch, position }: Order): Promise<boolean> {
    const { journal } = this.#deps
    if (conflated) this.#drop(channels, key)
    const isThere = (): boolean => journal.epoch === epoch && journal.head >= position
    // 0: of nothing that is in the journal.
    if (position === 0) return true
    if (!isThere()) await journal.caughtUp()
    return isThere()
  }

  #drop(channels: readonly string[], key: Key | null): number {
    return channels.filter((channel) => this.#deps.hub.forget(channel, key)).length
  }

  #isJournaled(channel: string): boolean {
    // What SQL has published to a subsystem that the config does not have is in the journal too.
    return this.#deps.live.rules.config.channels.get(subsystemOf(channel))?.history !== null
  }
}

function decodeOrder(value: unknown): Order | null {
  if (!isRecord(value)) return null
  const { channels, key, conflated, epoch, position } = value
  if (!Array.isArray(channels) || channels.length > MAX_CHANNELS || !channels.every(isChannel)) return null
  if (key !== null && typeof key !== 'string' && typeof key !== 'number') return null
  if (typeof conflated !== 'boolean' || typeof epoch !== 'string' || !Number.isSafeInteger(position))
    return null
  return { channels, key, conflated, epoch, position: position as number }
}
