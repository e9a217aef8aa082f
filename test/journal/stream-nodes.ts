import { connect } from 'amqplib'
import type { ChannelModel } from 'amqplib'
import type { Test } from 'tap'
import { createStreamJournal } from '../../src/journal/amqp-stream.ts'
import type { StreamJournalOptions } from '../../src/journal/amqp-stream-options.ts'
import type { Draft, Entry, Journal, Placed } from '../../src/journal/journal.ts'
import type { Rabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'
import { recordLog } from '../sources/recorder.ts'

const KEEP = new Map([['chat', { count: 100_000, maxAgeMs: 600_000 }]])

/** A journal over the stream, and what it told. */
export interface StreamNode {
  readonly journal: Journal
  readonly entries: Entry[]
  readonly lines: readonly { msg: string }[]
  /** The epochs after the first. */
  readonly epochs: string[]
  start(): Promise<void>
  append(draft: Draft): Promise<Placed>
}

/** Appends without a pause. */
export interface Writer {
  readonly accepted: { data: string; position: number }[]
  readonly refused: unknown[]
  /** Resolves when every append was answered. */
  stop(): Promise<void>
}

export function dataOf({ message }: Entry): string {
  return (JSON.parse(message) as { data: string }).data
}

/** Told by their first difference: a diff of tens of thousands of lines takes minutes. */
function same(t: Test, found: readonly string[], wanted: readonly string[], what: string): void {
  const length = Math.max(found.length, wanted.length)
  const at = Array.from({ length }, (_, index) => index).find((index) => found[index] !== wanted[index])
  t.same(at === undefined ? null : { at, found: found[at], wanted: wanted[at] }, null, what)
}

/** Several nodes on the streams of one broker. */
export function streamNodes(rabbit: Rabbit) {
  const run = `test${process.pid}-${Date.now()}`
  let count = 0
  const fresh = (): string => `${run}-${++count}`

  const make = (t: Test, exchange: string, options: Partial<StreamJournalOptions> = {}): StreamNode => {
    const { log, lines } = recordLog()
    const journal = createStreamJournal({
      url: rabbit.url,
      exchange,
      windowBytes: 64 * 1024 * 1024,
      retry: { minMs: 10, maxMs: 100 },
      heartbeatS: 1,
      connectMs: 2_000,
      closeMs: 200,
      silentMs: 1_000,
      log,
      ...options,
    })
    const node: StreamNode = {
      journal,
      entries: [],
      lines,
      epochs: [],
      start: async () => {
        journal.retain(KEEP)
        await journal.start({
          onEntry: (entry) => node.entries.push(entry),
          onEpoch: () => node.epochs.push(journal.epoch),
          onReady: () => undefined,
        })
      },
      append: async (draft) => journal.append(draft),
    }
    t.teardown(() => journal.stop())
    return node
  }

  const ready = (...nodes: StreamNode[]): Promise<unknown> =>
    until('all are ready', () => nodes.every(({ journal }) => journal.ready), 60_000)

  const operator = async (t: Test): Promise<ChannelModel> => {
    const model = await connect(rabbit.url)
    model.on('error', (error) => t.comment(String(error)))
    t.teardown(() => model.close())
    return model
  }

  /** Appends until it is told to stop; answers what was accepted, and where. */
  const writer = (node: StreamNode, name: string): Writer => {
    const accepted: { data: string; position: number }[] = []
    const refused: unknown[] = []
    const stopped = new AbortController()
    let next = 0
    const done = (async () => {
      const under: Promise<void>[] = []
      while (!stopped.signal.aborted) {
        for (let burst = 0; burst < 5; burst++) {
          const data = `${name}-${next++}`
          const draft = { channel: 'chat:a', json: JSON.stringify(data), patience: 'wait' as const }
          under.push(
            node.append(draft).then(
              ({ position }: Placed) => void accepted.push({ data, position }),
              (error: unknown) => void refused.push(error),
            ),
          )
        }
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      await Promise.all(under)
    })()
    return {
      accepted,
      refused,
      stop: () => {
        stopped.abort()
        return done
      },
    }
  }

  /** Every node has the same record: all that was accepted, each once, at its position, in each writer's order. */
  const check = async (t: Test, nodes: StreamNode[], writers: Writer[]): Promise<void> => {
    const accepted = writers.flatMap((one) => one.accepted)
    const last = Math.max(...accepted.map(({ position }) => position))
    await until('all have it all', () => nodes.every(({ journal }) => journal.head >= last))
    const [first, ...others] = nodes.map(({ entries }) =>
      entries.map(({ position, message }) => `${position} ${message}`),
    )
    for (const other of others) same(t, other, first!, 'the same record')
    const record = nodes[0]!.entries.map(dataOf)
    t.equal(new Set(record).size, record.length, 'each once')
    t.equal(record.length, accepted.length)
    const places = new Map(nodes[0]!.entries.map((entry) => [dataOf(entry), entry.position]))
    t.ok(
      accepted.every(({ data, position }) => places.get(data) === position),
      'what was accepted is where it was said to be',
    )
    for (const { refused } of writers) t.same(refused, [])
    for (const name of new Set(record.map((data) => data.split('-')[0]))) {
      const own = record.filter((data) => data.startsWith(`${name}-`))
      same(
        t,
        own,
        own.map((_, index) => `${name}-${index}`),
        `the order of ${name}`,
      )
    }
    t.comment(`${record.length} entries`)
  }

  return { fresh, make, ready, operator, writer, check }
}
