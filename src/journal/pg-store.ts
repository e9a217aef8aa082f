import type { DatabasePool } from '../database/pool.ts'
import { ClientError } from '../protocol/codes.ts'
import {
  AFTER,
  ANSWER,
  APPEND,
  BEFORE,
  FORGET_QUEUED,
  FORGET_SOME,
  FORGET_TRACES,
  LOOK,
  OBSERVE,
} from './pg-statements.ts'

/** How much of the table is read at once. */
export const PAGE_ROWS = 2000
export const PAGE_BYTES = 8 * 1024 * 1024

/** A row of `livemessage.journal`, as pg gives it: its 64-bit numbers are texts. A type, for pg wants an index signature. */
export type Row = {
  readonly position: string
  readonly channel: string
  readonly time: string
  readonly tag: string
  readonly data: string
  readonly exclude: string | null
  readonly mark: string | null
}

/** A place in the journal, and what stands there: by it a node sees whether the journal is the one that it knows. */
export interface Anchor {
  readonly position: number
  /** Null where nothing is known of it: at the very beginning, or because the entry is gone. */
  readonly tag: string | null
}

export interface Found {
  readonly rows: readonly Row[]
  /** There may be more: a limit cut it. */
  readonly more: boolean
  /** The tag that stands at the anchor; null when there is no such row. */
  readonly anchored: string | null
}

export interface AppendCall {
  readonly since: number
  readonly tag: string
  readonly channels: readonly string[]
  readonly datas: readonly string[]
  /** These, each: null where none of the drafts has one. */
  readonly excludes: readonly (string | null)[] | null
  readonly marks: readonly (string | null)[] | null
  readonly keys: readonly (string | null)[] | null
  readonly digests: readonly (string | null)[] | null
  readonly bodies: readonly string[]
  readonly counts: readonly number[]
  readonly lease: { readonly name: string; readonly token: number } | null
  readonly keyWindowMs: number
}

export interface Appended {
  /** Null: there were duplicates, and nothing was appended. */
  readonly first: number | null
  readonly at: number
  /** `n` is the draft's number, from 1. */
  readonly duplicates: readonly { n: number; position: number; digest: string | null }[]
  readonly anchored: string | null
}

/** A part of a channel that is to be forgotten. */
export interface ForgetCall {
  readonly channel: string
  /** Null: the oldest after `after`, up to `until` (null: up to the newest there is now). */
  readonly positions: readonly number[] | null
  readonly after: number
  readonly until: number | null
  readonly rows: number
  readonly epoch: string
}

export interface ForgottenPart {
  readonly count: number
  readonly until: number
  readonly upTo: number
  /** Where its tombstone stands; null: there was nothing. */
  readonly place: number | null
  readonly more: boolean
}

/** What the server says of itself and of the journal. */
export interface Look {
  readonly epoch: string
  readonly notifyData: boolean
  /** As it was when a node last found all well; null: nobody has looked since the epoch began. */
  readonly stored: Identity
  readonly found: Identity
  /** Whether a crash may lose commits that were answered. */
  readonly lossy: boolean
  /** The newest position that was ever seen in the table. */
  readonly head: number
  readonly headTag: string | null
  /** Whatever is missing at or below may have been deleted by retention. */
  readonly floor: number
  /** The tags at the positions that were asked for; null where there is no row. */
  readonly tags: readonly (string | null)[]
}

export interface Identity {
  readonly system: string | null
  readonly timeline: number | null
  readonly postmaster: string | null
  readonly folder: string | null
}

/** One channel of a question to the reader. */
export interface Ask {
  /** The question's number. */
  readonly request: number
  readonly channel: string
  readonly subsystem: string
  /** Null: the newest are wanted. */
  readonly after: number | null
  /** Whether what is kept is wanted although something is gone. */
  readonly left: boolean
  readonly limit: number
  /** Retention: so many, and none older than this time. */
  readonly keep: number
  readonly oldest: number
}

export type AnswerRow = {
  readonly ask: number
  readonly lost: boolean
  /** The position at or below which something of the channel may be gone. */
  readonly gone: string | null
} & (
  | { readonly position: null }
  | (Omit<Row, 'data'> & {
      /** Null where the bytes did not suffice. */
      readonly data: string | null
      /** How many rows the question would have had, and where the first of this channel is. */
      readonly hits: string
      readonly first: string
    })
)

/** The statements of the journal. Each is one round trip, and ends at its deadline or when the store is closed. */
export class Store {
  readonly #pool: DatabasePool
  readonly #deadlineMs: number
  readonly #running = new Set<AbortController>()
  #closed = false

  constructor(pool: DatabasePool, deadlineMs: number) {
    this.#pool = pool
    this.#deadlineMs = deadlineMs
  }

  /** Ends what is under way; nothing is asked any more. */
  close(): void {
    this.#closed = true
    for (const one of this.#running) one.abort(new Error('the journal is closed'))
  }

  async look(positions: readonly number[]): Promise<Look> {
    const rows = await this.#query<LookRow>(LOOK, [positions])
    const row = rows[0]
    if (row === undefined) throw new Error('livemessage.meta is empty')
    return {
      epoch: row.epoch,
      notifyData: row.notify_data,
      stored: {
        system: row.stored_system,
        timeline: row.stored_timeline,
        postmaster: row.stored_postmaster,
        folder: row.stored_folder,
      },
      found: { system: row.system, timeline: row.timeline, postmaster: row.postmaster, folder: row.folder },
      lossy: row.lossy,
      head: Math.max(Number(row.newest ?? 0), Number(row.floor)),
      headTag: Number(row.newest ?? 0) >= Number(row.floor) ? row.newest_tag : null,
      floor: Number(row.floor),
      tags: row.tags ?? [],
    }
  }

  /** Writes down that all was well when the server was `found` so. */
  async observe(epoch: string, found: Identity): Promise<void> {
    const { system, timeline, postmaster, folder } = found
    await this.#query(OBSERVE, [epoch, system, timeline, postmaster, folder])
  }

  /** Begins a new epoch where it is still `expected`. Returns the one that is now. */
  async mint(reason: string, expected: string, above: number): Promise<string> {
    const rows = await this.#query<{ epoch: string }>('SELECT livemessage.new_epoch($1, $2, $3) AS epoch', [
      reason,
      expected,
      above,
    ])
    return rows[0]!.epoch
  }

  /** The rows after the anchor. */
  async after(anchor: Anchor, limit: number, bytes: number): Promise<Found> {
    const rows = await this.#query<FoundRow>(AFTER, [anchor.position, limit, bytes])
    return found(rows, limit, bytes)
  }

  /** The rows up to a position, newest first. */
  async before(position: number, limit: number, bytes: number): Promise<Found> {
    const rows = await this.#query<FoundRow>(BEFORE, [position, limit, bytes])
    return found(rows, limit, bytes)
  }

  async append(call: AppendCall, anchor: Anchor): Promise<Appended> {
    const rows = await this.#query<AppendedRow>(APPEND, [
      call.since,
      call.tag,
      call.channels,
      call.datas,
      call.excludes,
      call.marks,
      call.keys,
      call.digests,
      call.bodies,
      call.counts,
      call.lease?.name ?? null,
      call.lease?.token ?? null,
      call.keyWindowMs,
      anchor.position,
    ])
    const row = rows[0]!
    return {
      first: row.first === null ? null : Number(row.first),
      at: Number(row.at),
      duplicates: row.duplicates ?? [],
      anchored: row.anchored,
    }
  }

  async forgetSome(call: ForgetCall): Promise<ForgottenPart> {
    const { channel, positions, after, until, rows: most, epoch } = call
    const rows = await this.#query<ForgottenRow>(FORGET_SOME, [channel, positions, after, until, most, epoch])
    const row = rows[0]!
    return {
      count: row.forgotten,
      until: Number(row.until),
      upTo: Number(row.upto),
      place: row.place === null ? null : Number(row.place),
      more: row.more,
    }
  }

  /** How many enqueued publications of the channel there were. */
  async forgetQueued(channel: string): Promise<number> {
    const rows = await this.#query<{ gone: string }>(FORGET_QUEUED, [channel])
    return Number(rows[0]!.gone)
  }

  async forgetTraces(channel: string, positions: readonly number[] | null): Promise<void> {
    await this.#query(FORGET_TRACES, [channel, positions])
  }

  /** Answers all questions at once, from what is at or below `upTo`. */
  async answer(
    asks: readonly Ask[],
    upTo: number,
    bytes: number,
    anchor: Anchor,
  ): Promise<{ rows: readonly AnswerRow[]; anchored: string | null }> {
    const rows = await this.#query<AnswerRow & { anchored: string | null }>(ANSWER, [
      asks.map(({ request }) => request),
      asks.map(({ channel }) => channel),
      asks.map(({ subsystem }) => subsystem),
      asks.map(({ after }) => after),
      asks.map(({ limit }) => limit),
      asks.map(({ keep }) => keep),
      asks.map(({ oldest }) => Math.round(oldest)),
      asks.map(({ left }) => left),
      upTo,
      bytes,
      anchor.position,
    ])
    return { rows, anchored: rows[0]?.anchored ?? null }
  }

  async #query<Result extends Record<string, unknown>>(
    text: string,
    values: readonly unknown[],
  ): Promise<Result[]> {
    if (this.#closed) throw new ClientError('unavailable', 'the journal is closed')
    const deadline = new AbortController()
    const timer = setTimeout(
      () => deadline.abort(new Error(`no answer within ${this.#deadlineMs} ms`)),
      this.#deadlineMs,
    )
    this.#running.add(deadline)
    try {
      return (await this.#pool.withSignal(deadline.signal).query<Result>(text, values)).rows
    } finally {
      clearTimeout(timer)
      this.#running.delete(deadline)
    }
  }
}

type LookRow = {
  epoch: string
  notify_data: boolean
  stored_system: string | null
  stored_timeline: number | null
  stored_postmaster: string | null
  stored_folder: string | null
  system: string | null
  timeline: number | null
  postmaster: string | null
  folder: string | null
  lossy: boolean
  newest: string | null
  newest_tag: string | null
  floor: string
  tags: (string | null)[] | null
}

type ForgottenRow = {
  forgotten: number
  until: string
  upto: string
  place: string | null
  more: boolean
}

type FoundRow = { anchored: string | null } & ((Row & { total: string }) | { position: null })

type AppendedRow = {
  first: string | null
  at: string | null
  duplicates: { n: number; position: number; digest: string | null }[] | null
  anchored: string | null
}

function found(rows: readonly FoundRow[], limit: number, bytes: number): Found {
  const there = rows.filter((row): row is FoundRow & Row & { total: string } => row.position !== null)
  const last = there.at(-1)
  const more = last !== undefined && (there.length === limit || Number(last.total) >= bytes)
  return { rows: there, more, anchored: rows[0]?.anchored ?? null }
}
