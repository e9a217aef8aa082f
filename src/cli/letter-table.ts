import { bodyOf, jsonOf } from '../database/dead-rows.ts'
import type { LetterFilter } from '../dead-letter.ts'
import { LivemessageError } from '../errors.ts'
import type { Database } from '../registry/define.ts'
import { type KeptLetter, type LetterStore, Stays } from './letter-store.ts'

/** The letters of the table `livemessage.dead`. */
export function letterTable(db: Database, close: () => Promise<void>): LetterStore {
  return {
    place: 'table livemessage.dead',
    async list(filter, limit) {
      const values = valuesOf(filter)
      const { rows } = await db.query<LetterRow>(
        `SELECT ${COLUMNS}, NULL AS body FROM livemessage.dead WHERE ${WANTED} ORDER BY id DESC LIMIT $4`,
        [...values, limit],
      )
      const counted = await db.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM livemessage.dead WHERE ${WANTED}`,
        values,
      )
      return { letters: rows.map(letterOf), total: counted.rows[0]?.n ?? 0, note: null }
    },
    async find(id) {
      const { rows } = await db.query<LetterRow>(`${SELECT} WHERE id = $1`, [numberOf(id)])
      const [row] = rows
      if (row === undefined) throw notFound([id])
      return letterOf(row)
    },
    async *settle(selection, work) {
      const ids =
        'ids' in selection ? await check(db, selection.ids) : await idsOf(db, valuesOf(selection.filter))
      for (const id of ids) {
        let letter: KeptLetter | null = null
        try {
          // Whoever else settles the same letter waits here for its row, and then finds it gone.
          const done = await db.transaction(async (transaction) => {
            const { rows } = await transaction.query<LetterRow>(
              `WITH gone AS (DELETE FROM livemessage.dead WHERE id = $1 RETURNING *) ${SELECT_GONE}`,
              [id],
            )
            if (rows[0] === undefined) return null
            letter = letterOf(rows[0])
            return work(letter, transaction)
          })
          if (done !== null && letter !== null) yield { letter, done }
        } catch (error) {
          if (!(error instanceof Stays) || letter === null) throw error
          yield { letter, stays: error.message }
        }
      }
    },
    close,
  }
}

type LetterRow = {
  readonly id: string
  readonly letter: string | null
  readonly time: number
  readonly source: string
  readonly name: string | null
  readonly channel: string | null
  readonly subsystem: string | null
  readonly code: string
  readonly reason: string
  readonly attempts: number
  readonly body_base64: boolean
  readonly bytes: string | null
  readonly headers: unknown
  readonly properties: unknown
  readonly database: string | null
  readonly body: string | null
}

const COLUMNS = `id::text, letter, (date_part('epoch', time) * 1000)::float8 AS time, source, name, channel, subsystem,
  code, reason, attempts, body_base64, headers, properties, database,
  CASE WHEN body_base64 THEN octet_length(body) * 3 / 4 - (right(body, 1) = '=')::int - (right(body, 2) = '==')::int
    ELSE octet_length(body) END AS bytes`
const SELECT = `SELECT ${COLUMNS}, body FROM livemessage.dead`
const SELECT_GONE = `SELECT ${COLUMNS}, body FROM gone`
const WANTED = `($1::text IS NULL OR source = $1) AND ($2::text IS NULL OR subsystem = $2) AND ($3::text IS NULL OR code = $3)`

function valuesOf({ source, subsystem, code }: LetterFilter): readonly (string | null)[] {
  return [source ?? null, subsystem ?? null, code ?? null]
}

function letterOf(row: LetterRow): KeptLetter {
  const { letter, time, body, body_base64, bytes, headers, properties, ...rest } = row
  return {
    ...rest,
    key: letter,
    time: Math.round(time),
    body: bodyOf(body, body_base64),
    bytes: Number(bytes ?? 0),
    headers: jsonOf(headers),
    properties: jsonOf(properties),
  }
}

async function idsOf(db: Database, values: readonly unknown[]): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `SELECT id::text FROM livemessage.dead WHERE ${WANTED} ORDER BY id`,
    values,
  )
  return rows.map(({ id }) => id)
}

/** The same ids in their order, once each. */
async function check(db: Database, ids: readonly string[]): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    'SELECT id::text FROM livemessage.dead WHERE id = ANY ($1::bigint[]) ORDER BY id',
    [ids.map(numberOf)],
  )
  const found = new Set(rows.map(({ id }) => id))
  const missing = ids.filter((id) => !found.has(numberOf(id)))
  if (missing.length > 0) throw notFound(missing)
  return [...found]
}

/** @throws where it can be no letter's number */
function numberOf(id: string): string {
  if (/^\d{1,18}$/.test(id)) return String(BigInt(id))
  throw notFound([id])
}

function notFound(ids: readonly string[]): LivemessageError {
  const which = ids.length === 1 ? 'letter' : 'letters'
  return new LivemessageError(
    'LETTER_NOT_FOUND',
    `the table livemessage.dead has no ${which} ${ids.join(', ')}: 'livemessage dead list' shows their numbers`,
  )
}
