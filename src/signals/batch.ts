import type { Client } from '../hub/client.ts'

/** A connection that is told of. */
export interface Entry {
  readonly client: Client
  /** Its `connect` was told. */
  letIn: boolean
  /** The roster has it, for sure. */
  noted: boolean
  /** Hooks of it that are running; its end is told when they have ended. */
  hooks: Promise<void> | null
}

/** One thing to be told to one target. */
export interface Row {
  readonly target: string
  readonly body: string
}

/** One thing that happened, with all that it is told to. */
export interface Op {
  rows: readonly Row[]
  /** Whose place in the roster changes. */
  readonly entry?: Entry
  /** The connection has ended. */
  readonly ends?: boolean
  /** This node's first (`up`) or last one on a channel: told only where it is the first or last of all. */
  readonly move?: { readonly channel: string; readonly up: boolean }
}

/** The arguments of `livemessage.note`. */
export interface Batch {
  readonly number: number
  readonly gone: readonly string[]
  readonly kept: readonly Entry[]
  readonly moves: readonly { readonly channel: string; readonly up: boolean }[]
  readonly rows: readonly (Row & { readonly move: number | null })[]
}

export function batchOf(number: number, ops: readonly Op[]): Batch {
  const last = new Map<string, Op>()
  const moves: { channel: string; up: boolean }[] = []
  const rows: (Row & { move: number | null })[] = []
  for (const op of ops) {
    if (op.entry !== undefined) last.set(op.entry.client.session, op)
    if (op.move !== undefined) moves.push(op.move)
    for (const row of op.rows) rows.push({ ...row, move: op.move === undefined ? null : moves.length })
  }
  const gone: string[] = []
  const kept: Entry[] = []
  for (const [session, { entry, ends }] of last) {
    if (ends === true) gone.push(session)
    else if (entry !== undefined) kept.push(entry)
  }
  return { number, gone, kept, moves, rows }
}

/**
 * The same in fewer ops, for those that tell nothing any more: what matters of them is how they end. Otherwise an
 * outage of the database would fill the memory with who came and went meanwhile.
 */
export function compact(ops: readonly Op[]): Op[] {
  const sessions = new Set<string>()
  const channels = new Map<string, number>()
  const kept: Op[] = []
  for (const op of ops.toReversed()) {
    const { entry, move, rows } = op
    if (entry !== undefined) {
      const { session } = entry.client
      const later = sessions.has(session)
      sessions.add(session)
      // Who came and went without a trace leaves none; who is told of later is noted there.
      if (rows.length === 0 && (later || (op.ends === true && !entry.noted))) continue
    }
    if (move !== undefined && rows.length === 0) {
      const after = channels.get(move.channel) ?? -1
      // Up and down stand for one another, as long as nothing is told in between.
      if (after !== -1 && kept[after]?.move?.up === !move.up && kept[after]?.rows.length === 0) {
        kept[after] = { rows: [] }
        channels.delete(move.channel)
        continue
      }
    }
    if (move !== undefined) channels.set(move.channel, kept.length)
    kept.push(op)
  }
  return kept
    .filter((op) => op.rows.length > 0 || op.entry !== undefined || op.move !== undefined)
    .toReversed()
}
