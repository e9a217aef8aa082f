import type { Backbone } from '../backbone.ts'
import type { Retry } from '../backoff.ts'
import type { BrokerConfig } from '../config/config.ts'
import type { Client } from '../hub/client.ts'
import type { Hub } from '../hub/hub.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import type { Services } from '../registry/context.ts'
import type { Live } from '../rules.ts'
import { Delivery } from './delivery.ts'
import { logged } from './logged.ts'
import { HOOKS_TARGET, ModuleHooks } from './module-hooks.ts'
import { MemoryQueue } from './queue.ts'
import { Signals } from './signals.ts'
import type { SignalSink } from './sink.ts'
import { Tally } from './tally.ts'
import type { SignalTarget } from './target.ts'

/** All of the signals of one node. */
export interface Signalling {
  readonly sink: SignalSink
  readonly tally: Tally
  /** Signals of this node that the database does not have yet. */
  readonly unnoted: number
  /** Before the first client. */
  start(): void
  /** Everything listens. */
  listening(): void
  /** The modules were swapped. */
  apply(): void
  /** For the bus's handlers. */
  onMemo(topic: string): void
  /** Notes, or without a database tells, what is left, as long as that may take. Idempotent. */
  stop(): Promise<void>
}

export interface SignallingOptions {
  readonly live: Live
  readonly backbone: Backbone
  readonly broker: BrokerConfig | null
  readonly log: Log
  readonly counts: Counts
  readonly services: () => Services
  readonly hub: () => Hub
  /** What a stop may take. @default 2000 */
  readonly stopMs?: number
  /** Between attempts at a target. @default a second to a minute */
  readonly retry?: Retry
}

const TOPIC = 'signals'
const MAX_UNITS = 64 * 1024 * 1024

/** The leader looks by itself so often: word of other nodes may be lost. */
const POLL_MS = 2_000

export async function createSignalling(options: SignallingOptions): Promise<Signalling> {
  const { live, backbone, broker, log, counts, services, hub, stopMs = 2_000 } = options
  const { config } = live.rules
  const { webhooks, exchange } = config.signals
  const retry = options.retry ?? { minMs: 1_000, maxMs: 60_000 }
  const { pool, leadership, bus } = backbone
  const tally = new Tally(log)
  const targets = [...webhooks, ...(exchange === null ? [] : [exchange])]
  const max = (): number => live.rules.config.signals.max
  const keepMs = (): number => live.rules.config.signals.keepMs

  const database = pool === null || leadership === null ? null : await databaseParts()
  const queues = new Map<string, MemoryQueue>()
  const deliveries = new Map<string, Delivery>()
  const signals: Signals = new Signals({
    live,
    node: bus.node,
    targets,
    hasDatabase: database !== null,
    services,
    counts,
    clients: () => hub(),
    isHere: (client: Client) => hub().get(client.session) === client,
    add: (op) => {
      if (database !== null) return database.register.add(op)
      for (const { target, body } of op.rows) {
        queues.get(target)?.push(body)
        deliveries.get(target)?.wake()
      }
    },
    begin: () => {
      database?.register.start()
      database?.lostNodes.start()
      for (const delivery of deliveries.values()) delivery.start()
    },
  })

  for (const target of await openTargets()) {
    const queue = database?.queueOf(target.name) ?? memoryQueueOf(target.name)
    deliveries.set(
      target.name,
      new Delivery({
        target,
        queue,
        tally,
        log,
        active: () => leadership === null || leadership.token !== null,
        pollMs: database === null ? RECHECK_MS : POLL_MS,
        retry,
      }),
    )
  }
  leadership?.onChange((token) => {
    // Another node counts them.
    if (token === null) tally.forget()
    wake()
  })

  function wake(): void {
    for (const delivery of deliveries.values()) delivery.wake()
  }

  function memoryQueueOf(target: string): MemoryQueue {
    const queue = new MemoryQueue({ target, tally, max, maxUnits: MAX_UNITS, keepMs })
    queues.set(target, queue)
    return queue
  }

  async function openTargets(): Promise<SignalTarget[]> {
    const opened: SignalTarget[] = [new ModuleHooks({ live, services, counts })]
    if (webhooks.length > 0) {
      const { Webhook } = await import('./webhook.ts')
      for (const webhook of webhooks) opened.push(new Webhook(webhook))
    }
    if (exchange !== null && broker !== null) {
      const { SignalExchange } = await import('./exchange.ts')
      const onUp = (): void => deliveries.get(exchange.name)?.again()
      opened.push(new SignalExchange({ config: exchange, url: broker.url, onUp }))
    }
    return opened
  }

  async function databaseParts() {
    const [{ Register }, { LostNodes }, { TableQueue }] = await Promise.all([
      import('./register.ts'),
      import('./lost-nodes.ts'),
      import('./table.ts'),
    ])
    const lostAfterMs = (): number => live.rules.config.signals.lostAfterMs
    const told = (): void => {
      if (leadership!.token !== null) wake()
      // It is for the leader, whoever that is.
      else bus.send({ kind: 'memo', topic: TOPIC, body: null })
    }
    const register = new Register({
      pool: pool!,
      node: bus.node,
      tally,
      log,
      max,
      beatMs: () => lostAfterMs() / 4,
      onNoted: told,
      onLost: (unnoted, doubtful) => signals.anew(unnoted, doubtful),
    })
    const lostNodes = new LostNodes({
      pool: pool!,
      leadership: leadership!,
      log,
      tally,
      lostAfterMs,
      keepMs,
      max,
      targets: () => [...targets.map(({ name }) => name), HOOKS_TARGET],
      endOf: (detail, channels) => signals.endOf(detail, channels),
      vacated: (channel) => signals.vacatedOf(channel),
      onTold: () => wake(),
    })
    return { register, lostNodes, queueOf: (target: string) => new TableQueue(pool!, target) }
  }

  let stopping: Promise<void> | null = null
  async function stop(): Promise<void> {
    const end = performance.now() + stopMs
    const left = (): number => Math.max(0, end - performance.now())
    await Promise.all([database?.lostNodes.stop(), signals.settle(stopMs)])
    await database?.register.stop(left())
    // What is in the database is told by the others, or by the next process.
    await Promise.all([...deliveries.values()].map((one) => one.stop(database === null ? left() : 0)))
    for (const [target, { size }] of queues) {
      if (size > 0) log.warn({ target, signals: size }, 'stopped before all signals were told')
      tally.givenUp(target, size, 'stopped')
    }
  }

  return {
    sink: logged(signals, log),
    tally,
    get unnoted() {
      return database?.register.unnoted ?? 0
    },
    start: () => signals.apply(),
    listening: () => signals.listening(),
    apply: () => signals.apply(),
    onMemo: (topic) => {
      if (topic === TOPIC) wake()
    },
    stop: () => (stopping ??= stop()),
  }
}

/** Without a database what is too old is noticed so often, where nothing comes. */
const RECHECK_MS = 60_000
