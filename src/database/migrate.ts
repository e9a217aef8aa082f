import { setTimeout as delay } from 'node:timers/promises'
import { Client, escapeLiteral } from 'pg'
import type { ClientBase } from 'pg'
import { LivemessageError, messageOf } from '../errors.ts'
import { isConnectionFailure, placeOf } from './failures.ts'
import type { Migration, Migrations } from './migration.ts'
import { publish } from './migrations/0001-publish.ts'
import { journal } from './migrations/0002-journal.ts'
import { dead } from './migrations/0003-dead.ts'
import { signals } from './migrations/0004-signals.ts'
import { revocations } from './migrations/0005-revocations.ts'
import { outbox } from './migrations/0006-outbox.ts'
import { forget } from './migrations/0007-forget.ts'
import { codeOf } from './process.ts'

export interface MigrateOptions {
  /** In this order; the daemon's own come first where they are not named. @default [CORE] */
  readonly components?: readonly Migrations[]
  /** Changes nothing; `sql` is what would run. */
  readonly dryRun?: boolean
  /** Tells the database who it is: its name in the config, and whether the journal is another one's. @default it is not told */
  readonly database?: { readonly name: string; readonly outbox: boolean }
  /** Waiting for another migration of the same database, or for locks of others. @default 60_000 */
  readonly lockMs?: number
  /** So long at a time for the latter: whoever publishes meanwhile waits behind it. @default 1000 */
  readonly lockTryMs?: number
}

export interface MigrateOutcome {
  /** Versions by component, before and after (`dryRun`: would-be); 0 where there was nothing. */
  readonly from: Readonly<Record<string, number>>
  readonly to: Readonly<Record<string, number>>
  readonly applied: readonly { readonly component: string; readonly version: number; readonly name: string }[]
  /** What could not be done and does not matter to the daemon itself, with what to do about it. */
  readonly notices: readonly string[]
  /** With `dryRun`: the script, for a person who runs it in psql. */
  readonly sql?: string
}

/** The daemon's own schema, `livemessage`. */
export const CORE: Migrations = {
  component: 'core',
  migrations: [publish, journal, dead, signals, revocations, outbox, forget],
}

/**
 * Brings the schemas of a database up to date: all of it or nothing. Two at once wait for each other.
 * @throws {LivemessageError} `DATABASE_UNREACHABLE`, `DATABASE_FAILED`
 */
export async function migrate(
  target: string | ClientBase,
  options: MigrateOptions = {},
): Promise<MigrateOutcome> {
  if (typeof target !== 'string') return run(target, options)
  const client = new Client({
    connectionString: target,
    application_name: 'livemessages',
    connectionTimeoutMillis: 10_000,
  })
  let lost: unknown = null
  client.on('error', (error) => (lost = error)) // the statement under way fails with it
  try {
    await client.connect()
    return await run(client, options)
  } catch (error) {
    if (error instanceof LivemessageError && lost === null) throw error
    throw new LivemessageError(
      isConnectionFailure(lost ?? error) ? 'DATABASE_UNREACHABLE' : 'DATABASE_FAILED',
      `migrate ${placeOf(target)}: ${messageOf(lost ?? error)}`,
      { cause: error },
    )
  } finally {
    await client.end()
  }
}

// Any number will do, as long as nobody else uses it: the letters "livemesg".
const LOCK = '7811887443163341671'

/** A lock that can't be had is asked for again: others must not wait behind us for the end of a long transaction. */
async function run(client: ClientBase, options: MigrateOptions): Promise<MigrateOutcome> {
  const end = performance.now() + (options.lockMs ?? LOCK_MS)
  for (;;) {
    try {
      return await attempt(client, options)
    } catch (error) {
      const { cause } = error instanceof Error ? error : {}
      if (!isLockTimeout(error) && !isLockTimeout(cause)) throw error
      if (performance.now() >= end) throw error
    }
    await delay(BETWEEN_MS)
  }
}

const LOCK_MS = 60_000
const LOCK_TRY_MS = 1000
const BETWEEN_MS = 300

function isLockTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '55P03'
}

async function attempt(client: ClientBase, options: MigrateOptions): Promise<MigrateOutcome> {
  const extra = options.components ?? []
  const components = extra.some(({ component }) => component === CORE.component) ? extra : [CORE, ...extra]
  check(components)
  const notices: string[] = []
  const onNotice = (notice: {
    message?: string | undefined
    hint?: string | undefined
    severity?: string | undefined
  }) => {
    if (notice.severity === 'NOTICE' || notice.severity === 'WARNING') {
      notices.push([notice.message, notice.hint].filter(Boolean).join('. '))
    }
  }
  client.on('notice', onNotice)
  const { lockMs = LOCK_MS, lockTryMs = LOCK_TRY_MS } = options
  // Of the transaction, not of the session: behind a pooler a session's lock would stay with a stranger.
  await client.query(`BEGIN; SET LOCAL lock_timeout = ${lockMs}; SET LOCAL client_min_messages = notice`)
  try {
    await client.query(`SELECT pg_advisory_xact_lock(${LOCK})`)
    await client.query(`SET LOCAL lock_timeout = ${Math.min(lockTryMs, lockMs)}`)
    const from = await versions(client, components)
    const steps = components.flatMap(({ component, migrations }) =>
      migrations
        .filter(({ version }) => version > (from[component] ?? 0))
        .map((step) => ({ component, ...step })),
    )
    const to = { ...from }
    for (const { component, version } of steps) to[component] = version
    const applied = steps.map(({ component, version, name }) => ({ component, version, name }))
    if (options.dryRun === true) {
      await client.query('ROLLBACK')
      return { from, to, applied, notices, sql: script(steps, options.database) }
    }
    for (const step of steps) await apply(client, step)
    const { database } = options
    if (database !== undefined) {
      await client.query('SELECT livemessage.set_database($1, $2)', [database.name, database.outbox])
    }
    await client.query('COMMIT')
    return { from, to, applied, notices }
  } catch (error) {
    // Where even this fails the connection is gone, and the server rolls back; the first error is the story.
    await client.query('ROLLBACK').catch((failure: unknown) => notices.push(messageOf(failure)))
    throw error
  } finally {
    client.off('notice', onNotice)
  }
}

type Step = Migration & { readonly component: string }

async function apply(client: ClientBase, step: Step): Promise<void> {
  try {
    await client.query(step.sql)
    await client.query(RECORD, [step.component, step.version, step.name])
  } catch (error) {
    if (isConnectionFailure(error)) throw error
    if (isLockTimeout(error)) {
      throw new LivemessageError(
        'DATABASE_FAILED',
        `migration ${step.component} ${step.version} (${step.name}): ${messageOf(error)}. Nothing was changed. A ` +
          'transaction that is still open has a lock on our tables, for example because it has published: end it, or ' +
          'migrate again when it is over',
        { cause: error },
      )
    }
    const rights =
      codeOf(error) === '42501'
        ? '. The role needs the right to create in this database and has to own what earlier migrations made; ' +
          '`livemessage migrate --dry-run` prints the SQL for someone who has it'
        : ''
    throw new LivemessageError(
      'DATABASE_FAILED',
      `migration ${step.component} ${step.version} (${step.name}): ${messageOf(error)}. Nothing was changed${rights}`,
      { cause: error },
    )
  }
}

const RECORD = 'INSERT INTO livemessage.migration (component, version, name) VALUES ($1, $2, $3)'

async function versions(
  client: ClientBase,
  components: readonly Migrations[],
): Promise<Record<string, number>> {
  const found: Record<string, number> = Object.fromEntries(components.map(({ component }) => [component, 0]))
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('livemessage.migration') IS NOT NULL AS there`,
  )
  if (rows[0]?.there !== true) return found
  const known = await client.query<{ component: string; version: number }>(
    'SELECT component, max(version) AS version FROM livemessage.migration GROUP BY component',
  )
  for (const { component, version } of known.rows) if (component in found) found[component] = version
  return found
}

function script(steps: readonly Step[], database: MigrateOptions['database']): string {
  if (steps.length === 0) return ''
  const parts = steps.map(
    ({ component, version, name, sql }) =>
      `-- ${component} ${version}: ${name}\n${sql.trim()}\n\n` +
      `INSERT INTO livemessage.migration (component, version, name) VALUES ('${component}', ${version}, '${name}');\n`,
  )
  if (database !== undefined) {
    parts.push(
      `SELECT livemessage.set_database(${escapeLiteral(database.name)}, ${String(database.outbox)});\n`,
    )
  }
  return `BEGIN;\n-- Whoever publishes waits behind this: where it fails, run it again.\nSET LOCAL lock_timeout = '${LOCK_TRY_MS}ms';\n\n${parts.join('\n')}\nCOMMIT;\n`
}

function check(components: readonly Migrations[]): void {
  const seen = new Set<string>()
  for (const { component, migrations } of components) {
    const sound =
      /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(component) &&
      !seen.has(component) &&
      migrations.every(({ version, name }, index) => version === index + 1 && /^[\w .-]+$/.test(name))
    seen.add(component)
    if (sound) continue
    throw new LivemessageError(
      'DATABASE_FAILED',
      `migrations of ${component}: expected one list per component, its versions 1, 2, 3, … and plain names`,
    )
  }
}
