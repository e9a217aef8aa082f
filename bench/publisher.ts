/*
 * Publishes by AMQP or NOTIFY, as an application would: a child process, told by IPC what to send. The data
 * carries the time of publication (CLOCK_MONOTONIC, the load generator's clock) and a number.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import { Client } from 'pg'

export interface Job {
  readonly source: 'amqp' | 'notify'
  /** The broker's or the database's. */
  readonly url: string
  readonly subsystem: string
  /** `%d` goes round `spread` numbers. */
  readonly rest: string
  readonly spread: number
  readonly count: number
  /** A second; 0: as fast as it goes. */
  readonly rate: number
  readonly size: number
}

/** NOTIFYs in one transaction where none waits for its time. */
const BATCH = 100

interface Outlet {
  send(rest: string, data: string): Promise<void>
  /** Resolves when all has left. */
  flush(): Promise<void>
  close(): Promise<void>
}

async function openAmqp({ url, subsystem }: Job): Promise<Outlet> {
  const connection = await connect(url)
  const channel = await connection.createConfirmChannel()
  return {
    async send(rest, data) {
      const taken = channel.publish('livemessages', `${subsystem}.${rest}`, Buffer.from(data), {
        persistent: true,
        contentType: 'application/json',
      })
      if (!taken) await once(channel, 'drain')
    },
    flush: () => channel.waitForConfirms(),
    close: () => connection.close(),
  }
}

async function openNotify({ url, subsystem, rate }: Job): Promise<Outlet> {
  const client = new Client({ connectionString: url })
  await client.connect()
  let batch: string[] = []
  const flush = async (): Promise<void> => {
    const payloads = batch
    batch = []
    await client.query(`SELECT pg_notify('livemessages', payload) FROM unnest($1::text[]) AS payload`, [
      payloads,
    ])
  }
  return {
    async send(rest, data) {
      batch.push(`{"channel":"${subsystem}:${rest}","data":${data}}`)
      if (rate > 0 || batch.length === BATCH) await flush()
    },
    flush,
    close: () => client.end(),
  }
}

/** As the load generator writes it: {"t":"<18 digits of ns>","n":"<10 digits>","p":"xxx…"} */
function dataOf(number: number, size: number): string {
  const time = process.hrtime.bigint().toString().padStart(18, '0')
  const head = `{"t":"${time}","n":"${String(number).padStart(10, '0')}","p":"`
  return `${head}${'x'.repeat(size - head.length - 2)}"}`
}

async function publish(job: Job, outlet: Outlet): Promise<void> {
  const begun = performance.now()
  for (let i = 0; i < job.count; i++) {
    if (job.rate > 0) {
      const wait = begun + (i / job.rate) * 1000 - performance.now()
      if (wait > 0) await sleep(wait)
    }
    await outlet.send(job.rest.replace('%d', String(i % job.spread)), dataOf(i + 1, job.size))
  }
  await outlet.flush()
}

const job: Job = JSON.parse(process.argv[2] ?? '')
const outlet = job.source === 'amqp' ? await openAmqp(job) : await openNotify(job)
process.send?.('ready')
await once(process, 'message')
await publish(job, outlet)
await outlet.close()
process.disconnect()
