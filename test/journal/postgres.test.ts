import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startPostgres } from '../support/postgres.ts'
import { journalContract } from './contract.ts'
import { freshDatabase, journalOf } from './databases.ts'

t.setTimeout(120_000)

const server = await startPostgres(t)

journalContract(
  t,
  'postgres',
  { reachesBeyondWindow: true },
  async (t, { windowBytes, idempotencyMs = 60_000 }) => {
    const url = await freshDatabase(server)
    const { journal } = journalOf(t, url, { windowBytes, idempotencyMs: () => idempotencyMs })
    return { journal, advance: (ms) => delay(ms) }
  },
)
