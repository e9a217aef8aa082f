import { setTimeout as delay } from 'node:timers/promises'
import { connect, type ChannelModel, type ConfirmChannel } from 'amqplib'
import { Client } from 'pg'

/** One publication of a test's publisher: its name and number make it unique, and its order known. */
export interface Numbered {
  readonly by: string
  readonly n: number
}

/** A publisher that numbers what it says, and knows what it was told of each. */
export interface Publisher {
  readonly name: string
  /** The numbers that the daemon, the database or the broker has taken, for certain. */
  readonly accepted: ReadonlySet<number>
  /** Those of which the answer was lost: taken or not. */
  readonly doubtful: ReadonlySet<number>
  stop(): Promise<void>
}

interface Run {
  readonly accepted: Set<number>
  readonly doubtful: Set<number>
  stopped: boolean
}

/** Publishes one after the other, `pauseMs` apart, until it is stopped. */
function publisher(
  name: string,
  publish: (n: number, run: Run) => Promise<void>,
  close: () => Promise<void>,
  pauseMs: number,
): Publisher {
  const run: Run = { accepted: new Set(), doubtful: new Set(), stopped: false }
  const work = (async () => {
    for (let n = 1; !run.stopped; n++) {
      await publish(n, run)
      await delay(pauseMs * (0.5 + Math.random()))
    }
  })()
  return {
    name,
    accepted: run.accepted,
    doubtful: run.doubtful,
    async stop() {
      run.stopped = true
      await work
      await close()
    },
  }
}

/**
 * `POST /publish` to one of the nodes, tried again with the same idempotency key until it is taken: none is in doubt.
 * Without keys each is said once.
 */
export function httpPublisher(
  name: string,
  channels: readonly string[],
  nodes: () => readonly string[],
  { pauseMs = 10, keyless = false }: { readonly pauseMs?: number; readonly keyless?: boolean } = {},
): Publisher {
  const publish = async (n: number, run: Run): Promise<void> => {
    const channel = pick(channels, n)
    for (let tries = 0; ; tries++) {
      try {
        const node = pick(nodes(), n + tries)
        const response = await fetch(`${node}/publish?channel=${channel}`, {
          method: 'POST',
          headers: {
            'Content-Type': 'application/json',
            ...(keyless ? {} : { 'Idempotency-Key': `${name}-${n}` }),
          },
          body: JSON.stringify({ by: name, n } satisfies Numbered),
          signal: AbortSignal.timeout(20_000),
        })
        const answer = await response.text()
        if (response.status === 200) break
        if (response.status !== 503) throw new Refused(`${response.status} ${answer}`)
      } catch (error) {
        if (error instanceof Refused) throw error
      }
      if (keyless) {
        // Whoever has no key can't try again: it may be there, and must not be there twice.
        run.doubtful.add(n)
        await delay(100)
        return
      }
      await delay(100)
    }
    run.accepted.add(n)
  }
  return publisher(name, publish, () => Promise.resolve(), pauseMs)
}

class Refused extends Error {}

/** `livemessage.publish` in transactions of up to 30 ms; every tenth is rolled back, and must not be seen. */
export function sqlPublisher(
  name: string,
  channels: readonly string[],
  url: string,
  pauseMs = 10,
): Publisher {
  let client: Client | null = null
  const open = async (): Promise<Client> => {
    const next = new Client({ connectionString: url, connectionTimeoutMillis: 2000, query_timeout: 10_000 })
    next.on('error', () => (client = null))
    await next.connect()
    return (client = next)
  }
  const publish = async (n: number, run: Run): Promise<void> => {
    for (;;) {
      let committing = false
      try {
        const db = client ?? (await open())
        await db.query('BEGIN')
        const data = JSON.stringify({ by: name, n } satisfies Numbered)
        await db.query('SELECT livemessage.publish($1, $2::jsonb)', [pick(channels, n), data])
        await delay(Math.random() * 30)
        if (n % 10 === 0) {
          await db.query('ROLLBACK')
          return
        }
        committing = true
        await db.query('COMMIT')
        run.accepted.add(n)
        return
      } catch {
        // Without a key nobody can say whether a commit whose answer was lost took place.
        const broken = client
        client = null
        broken?.end().catch(() => undefined)
        if (committing) {
          run.doubtful.add(n)
          return
        }
        if (run.stopped) return
        await delay(100)
      }
    }
  }
  return publisher(name, publish, async () => client?.end(), pauseMs)
}

/** Confirmed publishes with a message-id, tried again until they are confirmed. */
export function amqpPublisher(
  name: string,
  channels: readonly string[],
  url: string,
  pauseMs = 10,
): Publisher {
  let model: ChannelModel | null = null
  let channel: ConfirmChannel | null = null
  const drop = (): void => {
    channel = null
    model = null
  }
  const open = async (): Promise<ConfirmChannel> => {
    const opened = await connect(`${url}?heartbeat=5`)
    opened.on('error', drop)
    opened.on('close', drop)
    model = opened
    const confirmed = await opened.createConfirmChannel()
    confirmed.on('error', drop)
    return (channel = confirmed)
  }
  const publish = async (n: number, run: Run): Promise<void> => {
    const key = pick(channels, n).replace(':', '.')
    const body = Buffer.from(JSON.stringify({ by: name, n } satisfies Numbered))
    for (;;) {
      try {
        const open_ = channel ?? (await open())
        await new Promise<void>((resolve, reject) => {
          const late = setTimeout(() => reject(new Error('no confirm')), 10_000)
          open_.publish(
            'livemessages',
            key,
            body,
            { persistent: true, mandatory: true, messageId: `${name}-${n}`, contentType: 'application/json' },
            (error: unknown) => {
              clearTimeout(late)
              if (error) reject(error instanceof Error ? error : new Error('not confirmed'))
              else resolve()
            },
          )
        })
        run.accepted.add(n)
        return
      } catch {
        const broken = model
        drop()
        broken?.close().catch(() => undefined)
        if (run.stopped) {
          run.doubtful.add(n)
          return
        }
        await delay(200)
      }
    }
  }
  const close = async (): Promise<void> => {
    await model?.close().catch(() => undefined)
  }
  return publisher(name, publish, close, pauseMs)
}

function pick<T>(from: readonly T[], n: number): T {
  return from[n % from.length]!
}
