// oxlint-disable no-console
import { startEmbedded } from '../../src/database/embedded.ts'
import type { EmbeddedServer } from '../../src/database/embedded.ts'
import { pino } from 'pino'
import { rabbitSkip, startRabbit } from '../../test/support/rabbitmq.ts'
import type { Rabbit } from '../../test/support/rabbitmq.ts'
import { newFolder, removeFolder } from './server.ts'

/** The database and the broker, private ones, started on first use beside the load and away from the servers. */
export interface Services {
  database(): Promise<string>
  /** Null where no broker can be had. */
  broker(): Promise<string | null>
  stop(): Promise<void>
}

export function createServices(): Services {
  let folder: string | undefined
  let postgres: EmbeddedServer | undefined
  let rabbit: Rabbit | undefined
  return {
    async database() {
      folder ??= await newFolder()
      postgres ??= await startEmbedded({ directory: `${folder}/postgres` }, pino({ level: 'warn' }))
      return postgres.url
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
      if (folder !== undefined) await removeFolder(folder)
    },
  }
}
