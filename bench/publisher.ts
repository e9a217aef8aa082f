/*
 * Publishes by AMQP, by NOTIFY or by SQL, as an application would: a child process, told by IPC what to send. The data
 * carries the time of publication (CLOCK_MONOTONIC, the load generator's clock) and a number.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'amqplib'
import { Client } from 'pg'

export interface Job {
  /**
   * `publish`: livemessage.publish, `insert`: a plain insert with a NOTIFY for the control; each commits by itself.
   * `many`: livemessage.publish_many, 100 at once.
   */
  readonly source: 'amqp' | 'notify' | 'publish' | 'insert' | 'many'
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

/** Publications in one transaction. */
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

/** Gathers publications and sends them in one statement, which takes them as an array of JSON texts. */
async function openBatches({ url, subsystem }: Job, text: string, most: number): Promise<Outlet> {
  const client = new Client({ connectionString: url })
  await client.connect()
  let batch: string[] = []
  const flush = async (): Promise<void> => {
    const payloads = batch
    batch = []
    if (payloads.length > 0) await client.query(text, [payloads])
  }
  return {
    async send(rest, data) {
      batch.push(`{"channel":"${subsystem}:${rest}","data":${data}}`)
      if (batch.length >= most) await flush()
    },
    flush,
    close: () => client.end(),
  }
}

const NOTIFY = `SELECT pg_notify('livemessages', payload) FROM unnest($1::text[]) AS payload`
const MANY = 'SELECT livemessage.publish_many(to_jsonb($1::jsonb[]))'
const PUBLISH = 'SELECT livemessage.publish($1, $2::jsonb)'
const INSERT = `
WITH kept AS (INSERT INTO control.journal (channel, time, tag, data) VALUES ($1, 0, 0, $2))
SELECT pg_notify('control', $1 || ' ' || $2)`

async function openSql({ source, url, subsystem }: Job): Promise<Outlet> {
  const client = new Client({ connectionString: url })
  await client.connect()
  const text = source === 'publish' ? PUBLISH : INSERT
  return {
    async send(rest, data) {
      await client.query({ name: source, text, values: [`${subsystem}:${rest}`, data] })
    },
    flush: () => Promise.resolve(),
    close: () => client.end(),
  }
}

async function openOutlet(job: Job): Promise<Outlet> {
  if (job.source === 'amqp') return openAmqp(job)
  // What waits for its time goes alone.
  if (job.source === 'notify') return openBatches(job, NOTIFY, job.rate > 0 ? 1 : BATCH)
  return job.source === 'many' ? openBatches(job, MANY, BATCH) : openSql(job)
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
const outlet = await openOutlet(job)
process.send?.('ready')
await once(process, 'message')
await publish(job, outlet)
await outlet.close()
process.disconnect()
