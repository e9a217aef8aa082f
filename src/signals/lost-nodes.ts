import { DEFAULT_RETRY } from '../backoff.ts'
import { Chore, type Shift } from '../database/chore.ts'
import type { Leadership } from '../database/leadership.ts'
import { withDeadline } from '../deadline.ts'
import type { Log } from '../ops/log.ts'
import type { Row } from './batch.ts'
import type { RosterDetail } from './signal.ts'
import type { Pool } from './table.ts'
import type { Tally } from './tally.ts'

export interface LostNodesOptions {
  readonly pool: Pool
  readonly leadership: Leadership
  readonly log: Log
  readonly tally: Tally
  /** How long a node's beat may stand still. */
  readonly lostAfterMs: () => number
  readonly keepMs: () => number
  readonly max: () => number
  /** Those who are told, this node's config says. */
  readonly targets: () => readonly string[]
  /** What is told of a connection that ended with its node, and of its channels. */
  endOf(detail: RosterDetail, channels: readonly string[]): readonly Row[]
  vacated(channel: string): readonly Row[]
  /** There is something to be told. */
  onTold(): void
}

interface Seen {
  readonly beat: string
  /** On the clock that never jumps: the time that this node has seen pass, and not the database's. */
  readonly since: number
}

/** At once, in one transaction. */
const MOST = 500

/**
 * Finds nodes that do nothing any more, and tells what became of their connections; gives up what has waited too long.
 * It runs on every node, and acts on the one that leads. Each connection leaves the roster in the transaction that notes
 * its end: whatever dies in between, it is told once.
 */
export class LostNodes {
  readonly #options: LostNodesOptions
  readonly #chores: readonly Chore[]
  readonly #seen = new Map<string, Seen>()
  #token: number | null = null
  #looked = -Infinity

  constructor(options: LostNodesOptions) {
    this.#options = options
    const { pool, leadership, log, lostAfterMs } = options
    const common = { pool, leadership, log, retry: DEFAULT_RETRY, statementMs: 10_000 }
    this.#chores = [
      new Chore({
        ...common,
        name: 'lost nodes',
        intervalMs: lostAfterMs() / 5,
        work: (shift) => this.#look(shift),
      }),
      new Chore({ ...common, name: 'signals', intervalMs: 5_000, work: (shift) => this.#sweep(shift) }),
    ]
    leadership.onChange(() => {
      for (const chore of this.#chores) chore.wake()
    })
  }

  start(): void {
    for (const chore of this.#chores) chore.start()
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    await Promise.all(this.#chores.map((chore) => chore.stop()))
  }

  async #look({ query, token, signal }: Shift): Promise<boolean> {
    const { lostAfterMs, log } = this.#options
    const rows = await query<{ node: string; beat: string; lost: boolean }>(
      'SELECT node, beat::text AS beat, lost FROM livemessage.node',
    )
    const now = performance.now()
    // After a time without the database nobody's beat has moved: only what this node has watched counts.
    if (token !== this.#token || now - this.#looked > lostAfterMs() / 2) this.#seen.clear()
    this.#token = token
    this.#looked = now
    const nodes = new Set(rows.map(({ node }) => node))
    for (const node of this.#seen.keys()) if (!nodes.has(node)) this.#seen.delete(node)
    for (const { node, beat, lost } of rows) {
      const seen = this.#seen.get(node)
      if (!lost && seen?.beat !== beat) this.#seen.set(node, { beat, since: now })
      else if (lost || (seen !== undefined && now - seen.since >= lostAfterMs())) {
        // It may have moved since: then it lives.
        const marked = await query(
          'UPDATE livemessage.node SET lost = true WHERE node = $1 AND beat = $2 RETURNING node',
          [node, beat],
        )
        if (marked.length === 0) continue
        const connections = await this.#bury(node, signal)
        log.warn(
          { node: node.slice(0, 12), connections },
          'a node was lost: the end of its connections is told',
        )
      }
    }
    this.#looked = performance.now()
    return false
  }

  async #bury(node: string, signal: AbortSignal): Promise<number> {
    let connections = 0
    for (;;) {
      const ended = await this.#transact(signal, async (query) => {
        const rows = await query<{ detail: string; channels: string }>(
          `DELETE FROM livemessage.roster WHERE (node, session) IN (
             SELECT r.node, r.session FROM livemessage.roster AS r WHERE r.node = $1 ORDER BY r.session LIMIT ${MOST})
           RETURNING detail, channels`,
          [node],
        )
        const { endOf } = this.#options
        const told = rows.flatMap(({ detail, channels }) =>
          endOf(JSON.parse(detail) as RosterDetail, JSON.parse(channels) as string[]),
        )
        await insert(query, told)
        return rows.length
      })
      connections += ended
      this.#options.onTold()
      if (ended < MOST) break
    }
    for (;;) {
      const left = await this.#transact(signal, async (query) => {
        const rows = await query<{ channel: string }>(
          `SELECT channel FROM livemessage.occupied WHERE $1 = ANY (nodes) ORDER BY channel LIMIT ${MOST}`,
          [node],
        )
        const channels = rows.map(({ channel }) => channel)
        const hits = await query<{ n: number }>(
          'SELECT n FROM livemessage.occupy($1, $2::text[], $3::boolean[]) AS n ORDER BY n',
          [node, channels, channels.map(() => false)],
        )
        await insert(
          query,
          hits.flatMap(({ n }) => this.#options.vacated(channels[n - 1] ?? '')),
        )
        return channels.length
      })
      this.#options.onTold()
      if (left < MOST) break
    }
    await this.#transact(signal, (query) =>
      query('DELETE FROM livemessage.node WHERE node = $1 AND lost', [node]),
    )
    this.#seen.delete(node)
    return connections
  }

  #transact<T>(signal: AbortSignal, work: (query: Query) => Promise<T>): Promise<T> {
    return withDeadline(30_000, [signal], (either) =>
      this.#options.pool.withSignal(either).transaction((db) =>
        work(async <R extends Record<string, unknown>>(text: string, values: readonly unknown[]) => {
          const { rows } = await db.query<R>(text, values)
          return rows
        }),
      ),
    )
  }

  /** What has waited too long, and what is too much; how much waits. */
  async #sweep({ query }: Shift): Promise<boolean> {
    const { keepMs, max, tally, targets } = this.#options
    let more = false
    // The oldest are looked at, not all that wait: that may be a million.
    const old = await query<{ target: string; count: string }>(
      `WITH gone AS (
         DELETE FROM livemessage.signal WHERE id IN (
           SELECT s.id FROM (SELECT id, made FROM livemessage.signal ORDER BY id LIMIT $2) AS s
           WHERE s.made < now() - $1 * interval '1 millisecond')
         RETURNING target)
       SELECT target, count(*) AS count FROM gone GROUP BY target`,
      [keepMs(), SWEPT],
    )
    let swept = 0
    for (const { target, count } of old) {
      swept += Number(count)
      tally.givenUp(target, Number(count), 'too old')
    }
    more ||= swept >= SWEPT
    for (const target of targets()) {
      const [over] = await query<{ count: string }>(
        `WITH gone AS (
           DELETE FROM livemessage.signal WHERE id IN (
             SELECT id FROM livemessage.signal
             WHERE target = $1 AND id <= (
               SELECT id FROM livemessage.signal WHERE target = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
             ORDER BY id LIMIT $3)
           RETURNING 1)
         SELECT count(*) AS count FROM gone`,
        [target, max(), SWEPT],
      )
      const count = Number(over?.count ?? 0)
      tally.givenUp(target, count, 'too many')
      more ||= count >= SWEPT
      const [waiting] = await query<{ count: string }>(
        'SELECT count(*) AS count FROM livemessage.signal WHERE target = $1',
        [target],
      )
      tally.waits(target, Number(waiting?.count ?? 0))
    }
    return more
  }
}

const SWEPT = 10_000

type Query = <R extends Record<string, unknown>>(text: string, values: readonly unknown[]) => Promise<R[]>

async function insert(query: Query, rows: readonly Row[]): Promise<void> {
  if (rows.length === 0) return
  await query(
    `INSERT INTO livemessage.signal (target, body)
     SELECT t.target, t.body FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t(target, body, n) ORDER BY t.n`,
    [rows.map(({ target }) => target), rows.map(({ body }) => body)],
  )
}
