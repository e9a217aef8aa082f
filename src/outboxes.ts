import { DEFAULT_RETRY } from './backoff.ts'
import type { Backbone } from './backbone.ts'
import type { Config } from './config/config.ts'
import type { FurtherDatabase } from './database/databases.ts'
import { LEASE } from './database/leadership.ts'
import { Outbox, type OutboxBatch } from './database/outbox.ts'
import type { DatabasePool } from './database/pool.ts'
import type { SubsystemPolicies } from './database/subsystems.ts'
import { lacksSchema } from './database/refusals.ts'
import { withDeadline } from './deadline.ts'
import { messageOf } from './errors.ts'
import type { Submission } from './hub/publisher.ts'
import type { Part } from './ops/health.ts'
import type { Log } from './ops/log.ts'
import { isClientError } from './protocol/codes.ts'
import type { MaybePromise, Rejection } from './sources/source.ts'

/** The outboxes of all further databases; one that is down is in nobody's way. */
export interface Outboxes {
  readonly all: readonly Outbox[]
  /** For `/readyz`: each further database. */
  parts(): readonly Part[]
  /** Resolves after the first attempts to tell the databases. */
  start(config: Config): Promise<void>
  /** Other policies. */
  apply(config: Config): Promise<void>
  /**
   * What waits there of these channels never comes home. Never rejects: `missing` are the databases that could not be
   * asked.
   */
  forget(
    channels: readonly string[],
  ): Promise<{ readonly count: number; readonly missing: readonly string[] }>
  /** Idempotent. */
  stop(): Promise<void>
}

export interface OutboxesOptions {
  readonly backbone: Backbone
  readonly further: readonly FurtherDatabase[]
  readonly journal: Config['journal']
  /** For a journal that is not the home database's. */
  publish(submission: Submission): MaybePromise<unknown>
  /** Keeps what can never be published. */
  bury(source: string, rejection: Rejection): void
  readonly log: Log
}

/** Deadline of a batch's append. */
const APPEND_MS = 30_000

/** How long an outbox may take to forget. */
const FORGET_MS = 3000

export async function createOutboxes(options: OutboxesOptions): Promise<Outboxes> {
  const { backbone, further, log } = options
  const { leadership, pool: home } = backbone
  const none = (): Promise<void> => Promise.resolve()
  if (further.length === 0 || leadership === null || home === null) {
    const forget = () => Promise.resolve({ count: 0, missing: [] })
    return { all: [], parts: () => [], start: none, apply: none, forget, stop: none }
  }
  const { createDatabase } = await import('./database/pool.ts')
  const append = options.journal === 'postgres' ? intoDatabase(home) : intoJournal(options)
  const made = further.map((database) => {
    // Not the modules': they may use up theirs.
    const pool = createDatabase({
      url: database.url,
      applicationName: 'livemessages node',
      minConnections: 0,
      maxConnections: 2,
      cleanupTimeoutMs: 30_000,
      log,
      quiet: true,
    })
    const outbox = new Outbox({
      database: database.name,
      pool,
      leadership,
      append,
      log,
      retry: DEFAULT_RETRY,
    })
    return { database, pool, outbox }
  })
  const tell = async (config: Config): Promise<void> => {
    const policies = policiesOf(config)
    await Promise.all(made.map(({ outbox }) => outbox.apply(policies)))
  }
  return {
    all: made.map(({ outbox }) => outbox),
    parts: () => made.map(({ database, outbox }) => partOf(database.part(), outbox.reason)),
    start: (config) => {
      for (const { outbox } of made) outbox.start()
      return tell(config)
    },
    apply: tell,
    async forget(channels) {
      const missing: string[] = []
      let count = 0
      await Promise.all(
        made.map(async ({ outbox }) => {
          try {
            count += await outbox.forget(channels, FORGET_MS)
          } catch (error) {
            // One without our tables has nothing that waits.
            if (lacksSchema(error)) return
            missing.push(outbox.database)
            log.warn(
              { database: outbox.database, reason: messageOf(error) },
              'the outbox was not asked to forget',
            )
          }
        }),
      )
      return { count, missing }
    },
    async stop() {
      await Promise.all(made.map(({ outbox }) => outbox.stop()))
      await Promise.all(made.map(({ pool }) => pool.stop()))
    },
  }
}

type Append = (batch: OutboxBatch, token: number, signal: AbortSignal) => Promise<number>

/** Exactly once: the batch is remembered in the transaction that appends it. */
function intoDatabase(home: DatabasePool): Append {
  return async ({ database, id, channels, datas }, token, signal) => {
    const { rows } = await withDeadline(APPEND_MS, [signal], (either) =>
      home
        .withSignal(either)
        .query<{ came: number }>('SELECT livemessage.outbox_append($1, $2, $3, $4, $5, $6) AS came', [
          database,
          id,
          channels,
          datas,
          LEASE,
          token,
        ]),
    )
    return rows[0]?.came ?? 0
  }
}

/**
 * Once, as far as the journal remembers keys: where a leader dies between the append and the deletion, and the next one
 * comes later than `limits.idempotencyMs`, the batch comes twice. With a journal in memory nothing outlives the process
 * that could be there twice.
 */
function intoJournal({ publish, bury }: OutboxesOptions): Append {
  return async ({ database, id, channels, datas }, token) => {
    const source = `postgres:${database}`
    let came = 0
    const one = async (channel: string, index: number): Promise<void> => {
      const json = datas[index] ?? 'null'
      try {
        await publish({ channel, json, source, key: `${id} ${index}`, lease: token })
        came++
      } catch (error) {
        if (!isClientError(error) || OUTAGES.has(error.code)) throw error
        // It would stand in the way of all that follow.
        const { code, message } = error
        bury(source, { code, message, place: channel, body: JSON.stringify({ channel, data: json }) })
      }
    }
    // In one turn and in order; some that came before another failed are known by their keys the next time.
    const all = await Promise.allSettled(channels.map(one))
    for (const each of all) if (each.status === 'rejected') throw each.reason
    return came
  }
}

const OUTAGES: ReadonlySet<string> = new Set(['unavailable', 'timeout', 'internal'])

/** What the further databases have to know: whichever journal it is, theirs is the outbox. */
function policiesOf({ channels, limits }: Config): SubsystemPolicies {
  return new Map(
    [...channels].map(([name, { history, databases }]) => [
      name,
      {
        journaled: history !== null,
        maxBytes: limits.publicationBytes,
        maxAgeMs: null,
        perDatabase: databases !== undefined,
      },
    ]),
  )
}

function partOf(part: Part, trouble: string | null): Part {
  return part.ready && trouble !== null ? { ...part, state: 'down', ready: false, reason: trouble } : part
}
