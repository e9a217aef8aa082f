import cluster from 'node:cluster'
import type { Started } from '../daemon.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import type { MetricGroup, MetricSet } from '../ops/metric-set.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Fixed } from '../reload.ts'
import { isOrder, type Order, type Report } from './messages.ts'

/** What a primary can ask of its worker. */
export interface Obedient {
  stop(reason: 'restart' | 'shutdown'): void
  /** @throws what is wrong with the new version */
  reload(): Promise<void>
  measure(): Promise<MetricSet>
}

/** How long the primary may take to say something that does not depend on anybody else. */
const ANSWER_MS = 10_000

/** A worker's end of the line to its primary. */
export class Link implements MetricGroup {
  readonly #asked = new Map<number, (sets: readonly MetricSet[]) => void>()
  /** What came before there was anybody to obey. */
  readonly #early: Order[] = []
  #obey: Obedient | null = null
  #begin: (order: Extract<Order, { type: 'begin' }>) => void = () => undefined
  #orphaned = false
  #lastId = 0
  worker = 0

  constructor() {
    process.on('message', (message) => {
      if (isOrder(message)) this.#take(message)
    })
    cluster.worker?.once('disconnect', () => {
      // Node would end the process at once; the clients are to be told first.
      if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
      this.#orphaned = true
      this.#obey?.stop('restart')
    })
  }

  /** The primary is gone: this worker is on its own, and stops. */
  get orphaned(): boolean {
    return this.#orphaned
  }

  /**
   * Resolves with what the group has in common.
   * @throws {LivemessageError} INTERNAL when the primary says nothing
   */
  async join(): Promise<Fixed> {
    const begin = new Promise<Extract<Order, { type: 'begin' }>>((resolve) => (this.#begin = resolve))
    await this.#report({ type: 'join' })
    const { worker, fixed } = await within(begin, ANSWER_MS, () => {
      return new LivemessageError('INTERNAL', 'the primary process says nothing')
    })
    this.worker = worker
    return fixed
  }

  /** From now on orders are obeyed, those that came before included. */
  obey(obedient: Obedient): void {
    this.#obey = obedient
    if (this.#orphaned) obedient.stop('restart')
    for (const order of this.#early.splice(0)) this.#take(order)
  }

  listening(started: Started): void {
    void this.#report({ type: 'listening', started })
  }

  /** Resolves when the primary knows. */
  failed(error: unknown): Promise<void> {
    const known = error instanceof LivemessageError
    return this.#report({
      type: 'failed',
      code: known ? error.code : 'INTERNAL',
      message: messageOf(error),
      exitCode: known ? error.exitCode : 1,
    })
  }

  async gather(): Promise<readonly MetricSet[]> {
    const id = ++this.#lastId
    const sets = new Promise<readonly MetricSet[]>((resolve) => this.#asked.set(id, resolve))
    try {
      await this.#report({ type: 'gather', id })
      return await within(sets, ANSWER_MS, () => {
        return new ClientError('unavailable', 'the primary process does not answer')
      })
    } finally {
      this.#asked.delete(id)
    }
  }

  #take(order: Order): void {
    switch (order.type) {
      case 'begin':
        return this.#begin(order)
      case 'gathered':
        this.#asked.get(order.id)?.(order.sets)
        return
      case 'stop':
      case 'reload':
      case 'measure':
        if (this.#obey === null) this.#early.push(order)
        else void this.#follow(order, this.#obey)
        return
      default:
        return order satisfies never
    }
  }

  async #follow(
    order: Extract<Order, { type: 'stop' | 'reload' | 'measure' }>,
    obedient: Obedient,
  ): Promise<void> {
    switch (order.type) {
      case 'stop':
        return obedient.stop(order.reason)
      case 'reload': {
        const refusal = await obedient.reload().then(() => null, messageOf)
        return this.#report({ type: 'reloaded', id: order.id, refusal })
      }
      case 'measure': {
        // Whoever can't tell its numbers is as good as silent.
        const set = await obedient.measure().catch(() => null)
        if (set !== null) await this.#report({ type: 'measured', id: order.id, set })
        return
      }
      default:
        return order satisfies never
    }
  }

  /** Never rejects: a primary that is gone is told of by `disconnect`. */
  #report(report: Report): Promise<void> {
    return new Promise((resolve) => {
      if (process.send === undefined || !process.connected) resolve()
      else process.send(report, undefined, {}, () => resolve())
    })
  }
}

async function within<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), ms)
  })
  try {
    return await Promise.race([promise, deadline])
  } finally {
    clearTimeout(timer)
  }
}
