import { withDeadline } from '../deadline.ts'
import { tryWriteJson } from '../protocol/json.ts'
import type { DatabasePool } from '../database/pool.ts'
import { asciiOf, type RosterDetail } from './signal.ts'
import type { Batch, Entry } from './batch.ts'
import type { SignalQueue } from './queue.ts'
import type { Waiting } from './target.ts'

/** Deadline of a statement that is waited for. */
const STATEMENT_MS = 10_000

export type Pool = Pick<DatabasePool, 'withSignal'>

/** One statement with a deadline. */
export async function ask<Row extends Record<string, unknown>>(
  pool: Pool,
  signal: AbortSignal,
  text: string,
  values: readonly unknown[],
): Promise<Row[]> {
  const { rows } = await withDeadline(STATEMENT_MS, [signal], (either) =>
    pool.withSignal(either).query<Row>(text, values),
  )
  return rows
}

/** What waits for one target in the database: known to all nodes, told by the one that leads. */
export class TableQueue implements SignalQueue {
  readonly #pool: Pool
  readonly #target: string

  constructor(pool: Pool, target: string) {
    this.#pool = pool
    this.#target = target
  }

  // In the order of their numbers. A lower number may be committed later, by another node; of one connection, and of
  // one channel, never: its transactions come one after the other.
  peek(most: number, signal: AbortSignal): Promise<readonly Waiting[]> {
    const text = `SELECT id::text AS key, body FROM livemessage.signal WHERE target = $1 ORDER BY id LIMIT $2`
    return ask<{ key: string; body: string }>(this.#pool, signal, text, [this.#target, most])
  }

  async remove(waiting: readonly Waiting[], signal: AbortSignal): Promise<void> {
    const keys = waiting.map(({ key }) => key)
    await ask(this.#pool, signal, 'DELETE FROM livemessage.signal WHERE id = ANY ($1::bigint[])', [keys])
  }
}

/** Gives `noted`, `known` (it was before) or `lost` (the node is thought to be gone). */
export async function note(pool: Pool, node: string, batch: Batch, signal: AbortSignal): Promise<string> {
  const { number, gone, kept, moves, rows } = batch
  const [answer] = await ask<{ answer: string }>(pool, signal, NOTE, [
    node,
    number,
    gone,
    kept.map(({ client }) => client.session),
    kept.map(({ client }) => asciiOf(JSON.stringify(rosterOf(client)))),
    kept.map(({ client }) => JSON.stringify(client.channels)),
    moves.map(({ channel }) => channel),
    moves.map(({ up }) => up),
    rows.map(({ target }) => target),
    rows.map(({ body }) => body),
    rows.map(({ move }) => move),
  ])
  return answer?.answer ?? ''
}

const NOTE = `SELECT livemessage.note($1, $2, $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
  $9::text[], $10::text[], $11::int[]) AS answer`

/** The node has nobody any more, and says good-bye. */
export async function forgetNode(pool: Pool, node: string, signal: AbortSignal): Promise<void> {
  await ask(
    pool,
    signal,
    `DELETE FROM livemessage.node AS n WHERE n.node = $1
       AND NOT EXISTS (SELECT FROM livemessage.roster AS r WHERE r.node = $1)
       AND NOT EXISTS (SELECT FROM livemessage.occupied AS o WHERE $1 = ANY (o.nodes))`,
    [node],
  )
}

function rosterOf({
  session,
  user,
  database,
  info,
  address,
  transport,
  since,
}: Entry['client']): RosterDetail {
  // A hook may have given what JSON can't carry.
  const known: unknown = JSON.parse(tryWriteJson(info) ?? 'null')
  return { session, user, database, info: known, address, transport, since }
}
