// oxlint-disable no-console
import { rabbitSkip, startRabbit } from '../../test/support/rabbitmq.ts'
import type { Rabbit } from '../../test/support/rabbitmq.ts'
import { startPostgres } from './postgres.ts'
import type { Postgres } from './postgres.ts'

/** The database and the broker, private ones, started on first use beside the load and away from the servers. */
export interface Services {
  /** A new database at each call, of one server. */
  database(): Promise<string>
  /** Null where no broker can be had. */
  broker(): Promise<string | null>
  stop(): Promise<void>
}

export function createServices(): Services {
  let postgres: Postgres | undefined
  let rabbit: Rabbit | undefined
  return {
    async database() {
      postgres ??= await startPostgres()
      return postgres.newDatabase()
    },
    async broker() {
      const reason = rabbit ? false : rabbitSkip()
      if (reason !== false) {
        console.error(`AMQP is left out: ${reason}`)
        return null
      }
      rabbit ??= await startRabbit()
      return rabbit.url
    },
    async stop() {
      await rabbit?.end()
      await postgres?.stop()
    },
  }
}
