import type { Notifications } from '../database/notifications.ts'
import type { Log } from '../ops/log.ts'
import type { Bus } from './bus.ts'
import type { RemoteBusOptions } from './remote.ts'

/** What kind of bus, and what it needs. */
export type BusOptions =
  | { readonly kind: 'memory' }
  | (Tuning & {
      readonly kind: 'postgres'
      readonly notifications: Notifications
      readonly url: string
      /** Letters go through a table that other roles can't read or write. */
      readonly sealed?: boolean
      readonly log: Log
    })
  | (Tuning & {
      readonly kind: 'rabbitmq'
      readonly broker: { readonly url: string; readonly exchange: string }
      readonly log: Log
    })

type Tuning = Omit<RemoteBusOptions, 'log'>

/** Loads the client of that server only which is needed. */
export async function createBus(options: BusOptions): Promise<Bus> {
  switch (options.kind) {
    case 'memory': {
      const { MemoryBus } = await import('./memory.ts')
      return new MemoryBus()
    }
    case 'postgres': {
      const [{ PostgresCarrier }, { RemoteBus }] = await Promise.all([
        import('./postgres.ts'),
        import('./remote.ts'),
      ])
      return new RemoteBus(new PostgresCarrier(options), options)
    }
    case 'rabbitmq': {
      const [{ AmqpCarrier }, { RemoteBus }] = await Promise.all([import('./amqp.ts'), import('./remote.ts')])
      const { url, exchange } = options.broker
      const { retry } = options
      const carrier = new AmqpCarrier({ url, exchange, ...(retry === undefined ? {} : { retry }) })
      return new RemoteBus(carrier, options)
    }
    default:
      return options satisfies never
  }
}
