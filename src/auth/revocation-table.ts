import { withDeadline } from '../deadline.ts'
import type { DatabasePool } from '../database/pool.ts'
import { MAX_REVOCATIONS, type Revocation, type Revoked } from './revocations.ts'

export interface RevocationTableOptions {
  readonly pool: Pick<DatabasePool, 'withSignal'>
  /** Deadline of each statement. @default 2000 */
  readonly statementMs?: number
}

/** What was read: `until` may have passed, where one was taken back. */
export interface ReadRevocations {
  readonly revocations: readonly Revocation[]
  /** The server's time when it was read: where the next reading goes on. Milliseconds since 1970. */
  readonly now: number
}

/** Rows of one statement. */
const PAGE = 5000

/** What a transaction may take from its `changed` to its commit: so much is read twice. */
const OVERLAP_MS = 60_000

/** What is over is kept so long, for nodes that could not read it. */
const KEPT = "interval '1 day'"

/** The revocations as the database has them. */
export class RevocationTable {
  readonly #options: RevocationTableOptions
  readonly #stopped = new AbortController()

  constructor(options: RevocationTableOptions) {
    this.#options = options
  }

  /** What is under way is cancelled. */
  stop(): void {
    this.#stopped.abort()
  }

  /** All that hold. Null where the database lacks the table. */
  async readAll(): Promise<ReadRevocations | null> {
    const revocations: Revocation[] = []
    let after: readonly [string, string, string] = ['', '', '']
    let now: number | null = null
    for (;;) {
      const rows = await this.#query<Row>(ALL, [...after, PAGE])
      if (rows === null) return null
      now ??= rows[0]?.now ?? 0
      const found = rows.filter(isThere)
      revocations.push(...found.map(decode))
      const last = found.at(-1)
      if (last === undefined || found.length < PAGE || revocations.length >= MAX_REVOCATIONS) {
        return { revocations, now }
      }
      after = [last.kind, last.name, last.database]
    }
  }

  /** What changed since a reading. Null where the table has gone. */
  async readChanges(since: number): Promise<ReadRevocations | null> {
    const rows = await this.#query<Row>(CHANGES, [since - OVERLAP_MS])
    if (rows === null) return null
    return { revocations: rows.filter(isThere).map(decode), now: rows[0]?.now ?? since }
  }

  /** False where the database lacks the table. Done twice it is the same; a later one goes beyond an earlier one. */
  async put({ who, at, until, reason }: Revocation): Promise<boolean> {
    const stored = await this.#query(PUT, [...nameOf(who), at, until, reason])
    if (stored === null) return false
    // As many as there are new ones, or nearly so: nobody else has to.
    await this.#query(SWEEP, [])
    return true
  }

  /** False where there was none. */
  async lift(who: Revoked): Promise<boolean> {
    return ((await this.#query(LIFT, [...nameOf(who)]))?.length ?? 0) > 0
  }

  /** Whether it holds at present. False where the database lacks the table. */
  async holds(who: Revoked): Promise<boolean> {
    return ((await this.#query(HOLDS, [...nameOf(who)]))?.length ?? 0) > 0
  }

  async #query<R extends Record<string, unknown>>(
    text: string,
    values: readonly unknown[],
  ): Promise<R[] | null> {
    const { pool, statementMs = 2000 } = this.#options
    try {
      const { rows } = await withDeadline(statementMs, [this.#stopped.signal], (signal) =>
        pool.withSignal(signal).query<R>(text, values),
      )
      return rows
    } catch (error) {
      if (isAbsent(error)) return null
      throw error
    }
  }
}

interface Row extends Record<string, unknown> {
  readonly now: number
  readonly kind: string | null
  readonly name: string
  readonly database: string
  readonly at: number
  readonly until: number
  readonly reason: string | null
}

const FIELDS = `
  round(extract(epoch FROM t.now) * 1000)::float8 AS now, r.kind, r.name, r.database,
  round(extract(epoch FROM r.at) * 1000)::float8 AS at,
  round(extract(epoch FROM r.until) * 1000)::float8 AS until, r.reason
FROM (SELECT clock_timestamp() AS now) AS t`

// There is always a row: it tells the time.
const ALL = `
SELECT ${FIELDS}
LEFT JOIN LATERAL (
  SELECT * FROM livemessage.revocations
  WHERE (kind, name, database) > ($1, $2, $3) AND until > now() ORDER BY kind, name, database LIMIT $4
) AS r ON true
ORDER BY r.kind, r.name, r.database`

const CHANGES = `
SELECT ${FIELDS}
LEFT JOIN livemessage.revocations AS r ON r.changed > to_timestamp($1::float8 / 1000)`

const PUT = `
INSERT INTO livemessage.revocations AS r (kind, name, database, at, until, reason)
VALUES ($1, $2, $3, to_timestamp($4::float8 / 1000), to_timestamp($5::float8 / 1000), $6)
ON CONFLICT (kind, name, database) DO UPDATE SET
  at = greatest(r.at, excluded.at), until = greatest(r.until, excluded.until), reason = excluded.reason,
  changed = clock_timestamp()`

const LIFT = `
UPDATE livemessage.revocations SET until = now(), changed = clock_timestamp()
WHERE kind = $1 AND name = $2 AND database = $3 AND until > now()
RETURNING 1 AS lifted`

const HOLDS = `
SELECT 1 AS holds FROM livemessage.revocations WHERE kind = $1 AND name = $2 AND database = $3 AND until > now()`

const SWEEP = `
DELETE FROM livemessage.revocations WHERE (kind, name, database) IN (
  SELECT kind, name, database FROM livemessage.revocations
  WHERE changed < now() - ${KEPT} AND until < now() - ${KEPT} ORDER BY changed LIMIT 100 FOR UPDATE SKIP LOCKED
)`

function nameOf(who: Revoked): readonly [kind: string, name: string, database: string] {
  return 'token' in who ? ['token', who.token, ''] : ['user', who.user, who.database ?? '']
}

function isThere(row: Row): row is Row & { readonly kind: string } {
  return row.kind !== null
}

function decode({ kind, name, database, at, until, reason }: Row): Revocation {
  const who = kind === 'token' ? { token: name } : { user: name, database: database === '' ? null : database }
  return { who, at, until, reason }
}

/** No such table, no such schema. */
function isAbsent(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return code === '42P01' || code === '3F000'
}
