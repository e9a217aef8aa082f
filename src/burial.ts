import type { Backbone } from './backbone.ts'
import type { BrokerConfig } from './config/config.ts'
import type { DeadLetters } from './database/dead-letters.ts'
import type { DeadLetter } from './dead-letter.ts'
import { messageOf } from './errors.ts'
import type { Log } from './ops/log.ts'
import type { Rejection } from './sources/source.ts'

/** Keeps what can't be handled in one place, whatever source it came from. */
export interface Burial {
  /** Null without a database: the broker's queue is the place then. */
  readonly letters: DeadLetters | null
  bury(source: string, rejection: Rejection): void
  start(): void
  /** Idempotent. */
  stop(): Promise<void>
}

export interface BurialOptions {
  readonly backbone: Backbone
  readonly broker: BrokerConfig | null
  readonly log: Log
}

export async function createBurial({ backbone, broker, log }: BurialOptions): Promise<Burial> {
  const { pool, leadership } = backbone
  if (pool === null) {
    return { letters: null, bury: () => undefined, start: () => undefined, stop: () => Promise.resolve() }
  }
  const { DeadLetters } = await import('./database/dead-letters.ts')
  const letters = new DeadLetters({ pool, log, leads: () => leadership?.token !== null })
  const collector = broker === null ? null : await collectorOf(broker, letters, log)
  return {
    letters,
    bury(source, rejection) {
      if (rejection.body !== undefined) letters.put(letterOf(source, rejection))
    },
    start() {
      letters.start()
      collector?.start().catch((error: unknown) => {
        log.error({ reason: messageOf(error) }, 'dead letters are not collected')
      })
    },
    async stop() {
      await collector?.stop()
      await letters.stop()
    },
  }
}

async function collectorOf({ url, exchange }: BrokerConfig, letters: DeadLetters, log: Log) {
  const { DeadCollector } = await import('./sources/dead-collector.ts')
  return new DeadCollector({ url, exchange, letters, log })
}

function letterOf(
  source: string,
  { code, message, place, notification, body, attempts }: Rejection,
): DeadLetter {
  return {
    key: null,
    time: Date.now(),
    source,
    name: notification?.name ?? place,
    channel: notification?.channel ?? null,
    subsystem: notification?.subsystem ?? null,
    code,
    reason: message,
    attempts: attempts ?? 0,
    body: body ?? null,
    headers: notification?.headers ?? null,
    properties: null,
    database: notification?.database ?? null,
  }
}
