import { createHash, randomBytes } from 'node:crypto'
import { backoffMs, pause, type Retry } from '../backoff.ts'
import { LEASE } from '../database/leadership.ts'
import { orAborted } from '../database/lease.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import { type Draft, LeaseLost, type Placed } from './journal.ts'
import { failureOf } from './pg-failure.ts'
import { packBodies } from './pg-notice.ts'
import { Queue, type Unit, type QueueOptions } from './pg-queue.ts'
import type { AppendCall, Appended, Store } from './pg-store.ts'
import type { Tail } from './pg-tail.ts'

export interface AppenderDependencies extends QueueOptions {
  readonly store: Store
  readonly tail: Tail
  /** Resolves when what is in question now has been settled. */
  settled(): Promise<void>
  /** The journal is not what this node has seen: it is to be compared. */
  suspect(): void
  readonly log: Log
  idempotencyMs(): number
  readonly retry: Retry
}

/** What goes into one transaction. The tag is its own: by it, a commit whose answer was lost is found. */
interface Batch {
  readonly units: readonly Unit[]
  readonly drafts: readonly Draft[]
  readonly tag: string
  readonly since: number
}

/**
 * Appends this node's drafts, in the order of the calls. The first goes at once; what comes while it is under way goes
 * together with the next. One batch is in flight at a time, and a batch whose commit is in doubt is sent again, under
 * its own tag, until the journal says what became of it: nothing overtakes it.
 */
export class Appender {
  readonly #deps: AppenderDependencies
  readonly #queue: Queue
  readonly #stopping = new AbortController()
  #pumping = false
  #pumped: Promise<void> = Promise.resolve()
  #closed = false
  /** Whether NOTIFYs carry the publications, or their positions alone. */
  withData = true
  batches = 0
  settled = 0
  #since = Infinity

  constructor(deps: AppenderDependencies) {
    this.#deps = deps
    this.#queue = new Queue(deps)
  }

  /** How long the batch under way has waited for its answer. */
  get waitedMs(): number {
    return Math.max(0, performance.now() - this.#since)
  }

  append(drafts: readonly Draft[]): Promise<readonly Placed[]> {
    if (drafts.length === 0) return Promise.resolve([])
    if (this.#closed) {
      return Promise.reject(new ClientError('unavailable', 'the daemon is stopping'))
    }
    const placed = this.#queue.add(drafts)
    if (!this.#pumping) this.#pumped = this.#pump()
    return placed
  }

  /** Takes nothing more, waits for what is in hand, a deadline long, and refuses the rest. Idempotent. */
  async stop(deadlineMs: number): Promise<void> {
    this.#closed = true
    const late = setTimeout(() => this.#stopping.abort(), deadlineMs)
    await this.#pumped
    clearTimeout(late)
    this.#stopping.abort()
    this.#queue.refuseAll('the daemon is stopping')
  }

  async #pump(): Promise<void> {
    // Unset in the turn in which nothing was left: a draft of the next one would wait for nobody.
    this.#pumping = true
    while (!this.#stopping.signal.aborted) {
      const units = this.#queue.take()
      if (units.length === 0) break
      this.#since = performance.now()
      await this.#place(units)
      this.#since = Infinity
      if (this.#stopping.signal.aborted) break // `stop` refuses those that have no answer
      this.#queue.done()
    }
    this.#pumping = false
  }

  /** Places these units: all, or each that can be. Returns when each of them is answered. */
  async #place(units: readonly Unit[]): Promise<void> {
    const { signal } = this.#stopping
    const { retry, log } = this.#deps
    let rest = units
    for (let attempt = 0; !signal.aborted;) {
      // What was refused for its patience's sake, and never sent, is not wanted any more.
      rest = rest.filter((unit) => !unit.over)
      if (rest.length === 0) return
      const batch = this.#batchOf(rest)
      try {
        const outcome = await this.#send(batch)
        if (outcome.first !== null) return this.#answer(batch, outcome.first)
        rest = this.#duplicates(batch, outcome)
        attempt = 0
      } catch (error) {
        if (signal.aborted) return
        const failure = failureOf(error)
        if (failure === 'not done') {
          for (const unit of rest) unit.doubted = false
          // The pool tells of connections; this is the server refusing what should work.
          if (!isClientError(error) && attempt === 0) {
            log.error(
              { drafts: batch.drafts.length, reason: messageOf(error) },
              'append refused, is tried again',
            )
          }
          await pause(backoffMs(attempt++, retry), signal)
        } else if (failure === 'lease' || rest.length === 1) {
          for (const unit of rest) unit.reject(refusalOf(error))
        } else {
          // One of them is not to be had: halves, until it is alone.
          const middle = Math.ceil(rest.length / 2)
          await this.#place(rest.slice(0, middle))
          await this.#place(rest.slice(middle))
          return
        }
      }
    }
  }

  /** Sends a batch; when its commit is in doubt, again and again, until it is known what became of it. */
  async #send(batch: Batch): Promise<Appended> {
    const { store, tail, retry, log } = this.#deps
    const { signal } = this.#stopping
    // Before the journal is known there is nothing to compare with, and no cursor to answer with.
    if (tail.epoch === '') await orAborted(this.#deps.settled(), signal)
    const call = this.#callOf(batch)
    for (const unit of batch.units) unit.doubted = true
    let doubted = false
    for (let attempt = 0; ;) {
      const { anchor } = tail
      this.batches++
      try {
        const appended = await orAborted(store.append(call, anchor), signal)
        if (doubted) {
          this.settled++
          log.info({ drafts: batch.drafts.length, position: appended.first }, 'append in doubt settled')
        }
        await this.#arrived(batch, appended, anchor)
        return appended
      } catch (error) {
        const failure = failureOf(error)
        if (signal.aborted || failure === 'data' || failure === 'lease') throw error
        if (failure === 'not done' && !doubted) throw error
        if (!doubted) log.warn({ drafts: batch.drafts.length, reason: messageOf(error) }, 'append in doubt')
        doubted = true
        await pause(backoffMs(attempt++, retry), signal)
        signal.throwIfAborted()
      }
    }
  }

  async #arrived(batch: Batch, { first, at, anchored }: Appended, anchor: Tail['anchor']): Promise<void> {
    const { tail } = this.#deps
    if (anchor.tag !== null && anchored !== anchor.tag) {
      this.#deps.suspect()
      await orAborted(this.#deps.settled(), this.#stopping.signal)
    } else if (!tail.open) {
      await orAborted(this.#deps.settled(), this.#stopping.signal)
    } else if (first !== null) {
      tail.placed(first, at, batch.tag, batch.drafts)
    }
  }

  #answer({ units }: Batch, first: number): void {
    let position = first
    for (const unit of units) {
      for (const index of unit.open()) unit.place(index, { position: position++, duplicate: false })
      unit.resolve()
    }
  }

  /** Answers those whose keys are known; returns the units that still have something to append. */
  #duplicates({ units }: Batch, { duplicates }: Appended): readonly Unit[] {
    const known = new Map(duplicates.map((duplicate) => [duplicate.n, duplicate]))
    const rest: Unit[] = []
    let n = 0
    for (const unit of units) {
      let conflict = false
      for (const index of unit.open()) {
        const duplicate = known.get(++n)
        if (duplicate === undefined) continue
        // Of what was forgotten, nobody knows any more what it was.
        if (duplicate.digest !== null && duplicate.digest !== digestOf(unit.drafts[index]!)) conflict = true
        unit.place(index, { position: duplicate.position, duplicate: true })
      }
      if (conflict) {
        unit.reject(new ClientError('conflict', 'the idempotency key came before, with another body'))
      } else if (unit.open().length === 0) {
        unit.resolve()
      } else {
        rest.push(unit)
      }
    }
    return rest
  }

  #batchOf(units: readonly Unit[]): Batch {
    const drafts = units.flatMap((unit) => unit.open().map((index) => unit.drafts[index]!))
    // Half of its 64 bits would do: it must be unlike the few that come after `since`.
    const tag = randomBytes(8).readBigInt64BE().toString()
    return { units, drafts, tag, since: this.#deps.tail.anchor.position }
  }

  #callOf({ drafts, tag, since, units }: Batch): AppendCall {
    const lease = units[0]!.lease
    return {
      since,
      tag,
      channels: drafts.map(({ channel }) => channel),
      datas: drafts.map(({ json }) => json),
      excludes: sparse(drafts, ({ exclude }) => exclude),
      marks: sparse(drafts, ({ mark }) => mark),
      keys: sparse(drafts, ({ key }) => key),
      digests: sparse(drafts, (draft) => (draft.key === undefined ? undefined : digestOf(draft))),
      ...packBodies(drafts, this.withData),
      lease: lease === undefined ? null : { name: LEASE, token: lease },
      keyWindowMs: this.#deps.idempotencyMs(),
    }
  }
}

/** Null where none of them has it, as nearly always: what is not sent is not parsed. */
function sparse(
  drafts: readonly Draft[],
  of: (draft: Draft) => string | undefined,
): readonly (string | null)[] | null {
  const values = drafts.map((draft) => of(draft) ?? null)
  return values.some((value) => value !== null) ? values : null
}

function digestOf({ json }: Draft): string {
  return createHash('sha256').update(json).digest('base64')
}

/** What the publisher is told of an item that the store would not take. */
function refusalOf(error: unknown): Error {
  if (failureOf(error) === 'lease') return new LeaseLost()
  const refusal = new ClientError('invalid_input', 'the journal can not hold this data')
  return Object.defineProperty(refusal, 'cause', { value: error, enumerable: false })
}
