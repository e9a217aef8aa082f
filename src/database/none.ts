import { ClientError } from '../protocol/codes.ts'
import type { DatabasePool } from './pool.ts'

/** What stands in for a database where none is configured. */
export function noDatabase(): DatabasePool {
  const refuse = () =>
    Promise.reject(new ClientError('unavailable', 'no database is configured (postgres: false)'))
  return {
    query: refuse,
    transaction: refuse,
    withSignal: () => ({ query: refuse, transaction: refuse }),
    start: () => Promise.resolve(),
    ping: refuse,
    counts: { connections: 0, idle: 0, waiting: 0 },
    stop: () => Promise.resolve(),
  }
}
