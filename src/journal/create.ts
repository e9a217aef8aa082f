import type { BrokerConfig, Config } from '../config/config.ts'
import type { Notifications } from '../database/notifications.ts'
import { LivemessageError } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Journal } from './journal.ts'
import { MemoryJournal } from './memory.ts'

export interface JournalOptions {
  readonly kind: Config['journal']
  /** The home database, and the LISTEN connection to it that is shared; null without one. */
  readonly database: {
    readonly url: string
    readonly notifications: Notifications
    /** What NOTIFYs carry from now on; null: as it is. */
    readonly notify: 'data' | 'positions' | null
  } | null
  readonly broker: BrokerConfig | null
  readonly windowBytes: number
  idempotencyMs(): number
  idempotencyKeys(): number
  /** How long a publication may wait for a journal that can't be reached. */
  readonly patienceMs: number
  readonly log: Log
}

/** Loads the client of that server only which is needed. */
export async function createJournal(options: JournalOptions): Promise<Journal> {
  const { kind, database, broker } = options
  if (kind === 'memory') return new MemoryJournal(options)
  if (kind === 'postgres' && database !== null) {
    const [{ createPostgresJournal }, { checkSchema }] = await Promise.all([
      import('./postgres.ts'),
      import('../database/compatible.ts'),
    ])
    const { notify, ...connections } = database
    return createPostgresJournal({
      ...options,
      ...connections,
      async checkSchema(pool) {
        await checkSchema(pool)
        if (notify !== null) await pool.query(NOTIFY_DATA, [notify === 'data'])
      },
    })
  }
  if (kind === 'rabbitmq' && broker !== null) {
    const { createStreamJournal } = await import('./amqp-stream.ts')
    return createStreamJournal({ ...options, ...broker, patienceMs: () => options.patienceMs })
  }
  throw new LivemessageError('CONFIG_INVALID', `journal: '${kind}' has no server`)
}

const NOTIFY_DATA = 'UPDATE livemessage.meta SET notify_data = $1 WHERE notify_data <> $1'
