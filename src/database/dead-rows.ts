import { isUtf8 } from 'node:buffer'
import type { DeadLetter } from '../dead-letter.ts'
import type { Database } from '../registry/define.ts'

/** How faithfully: as it is; what no encoding of a database can refuse; without what was too much. */
export type Faith = 'exact' | 'ascii' | 'bare'

/** Inserts letters in their order, all or none; one whose key is known is left out. */
export async function insertLetters(
  db: Pick<Database, 'query'>,
  letters: readonly DeadLetter[],
  faith: Faith = 'exact',
): Promise<void> {
  const rows = letters.map((letter) => rowOf(letter, faith))
  await db.query(INSERT, [
    rows.map(({ letter }) => letter),
    rows.map(({ time }) => time),
    rows.map(({ source }) => source),
    rows.map(({ name }) => name),
    rows.map(({ channel }) => channel),
    rows.map(({ subsystem }) => subsystem),
    rows.map(({ code }) => code),
    rows.map(({ reason }) => reason),
    rows.map(({ attempts }) => attempts),
    rows.map(({ body }) => body),
    rows.map(({ base64 }) => base64),
    rows.map(({ headers }) => headers),
    rows.map(({ properties }) => properties),
    rows.map(({ database }) => database),
  ])
}

/** A body from its two columns. */
export function bodyOf(body: string | null, base64: boolean): string | Buffer | null {
  return body !== null && base64 ? Buffer.from(body, 'base64') : body
}

/** A `headers` or `properties` column. */
export function jsonOf(value: unknown): Readonly<Record<string, unknown>> | null {
  if (!isTable(value)) return null
  const { [WRAPPED]: wrapped } = value
  if (typeof wrapped !== 'string') return value
  const inner: unknown = JSON.parse(Buffer.from(wrapped, 'base64').toString())
  return isTable(inner) ? inner : null
}

const INSERT = `
INSERT INTO livemessage.dead
  (letter, time, source, name, channel, subsystem, code, reason, attempts, body, body_base64, headers, properties, database)
SELECT l.letter, coalesce(to_timestamp(l.time / 1000.0), now()), l.source, l.name, l.channel, l.subsystem, l.code, l.reason,
  l.attempts, l.body, l.base64, l.headers::jsonb, l.properties::jsonb, l.database
FROM unnest($1::text[], $2::float8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[],
  $10::text[], $11::bool[], $12::text[], $13::text[], $14::text[]) WITH ORDINALITY
  AS l(letter, time, source, name, channel, subsystem, code, reason, attempts, body, base64, headers, properties, database, n)
ORDER BY l.n
ON CONFLICT (letter) DO NOTHING`

/** Of an object that stands for another one, which jsonb can't hold. */
const WRAPPED = 'livemessage:base64'

function rowOf(letter: DeadLetter, faith: Faith) {
  const text = (value: string): string => {
    // PostgreSQL's text has no NUL.
    const clean = value.replaceAll('\0', '\uFFFD')
    return faith === 'exact' ? clean : clean.replace(/[^\x20-\x7e\n\t]/g, '?')
  }
  const maybe = (value: string | null): string | null => (value === null ? null : text(value))
  const json = (value: Readonly<Record<string, unknown>> | null): string | null => {
    if (value === null || faith === 'bare') return null
    const written = JSON.stringify(value)
    // Nor has jsonb. With `ascii` the escapes are left to no database's encoding either.
    if (faith === 'exact' && !written.includes('\\u0000')) return written
    return JSON.stringify({ [WRAPPED]: Buffer.from(written).toString('base64') })
  }
  const { body, base64 } = bodyColumns(faith === 'bare' ? null : letter.body, faith)
  const lost = letter.body === null ? '' : ` (a body of ${letter.body.length} that could not be kept)`
  return {
    letter: maybe(letter.key),
    time: letter.time,
    source: text(letter.source),
    name: maybe(letter.name),
    channel: maybe(letter.channel),
    subsystem: maybe(letter.subsystem ?? letter.channel?.split(':')[0] ?? null),
    code: text(letter.code),
    reason: text(letter.reason) + (faith === 'bare' ? lost : ''),
    attempts: Math.min(Math.max(Math.trunc(letter.attempts) || 0, 0), 2 ** 31 - 1),
    body,
    base64,
    headers: json(letter.headers),
    properties: json(letter.properties),
    database: maybe(letter.database),
  }
}

function bodyColumns(body: string | Buffer | null, faith: Faith): { body: string | null; base64: boolean } {
  if (body === null) return { body, base64: false }
  if (faith === 'exact') {
    if (typeof body === 'string' && !body.includes('\0')) return { body, base64: false }
    if (typeof body !== 'string' && isUtf8(body) && !body.includes(0)) {
      return { body: body.toString(), base64: false }
    }
  }
  return { body: Buffer.from(body).toString('base64'), base64: true }
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
