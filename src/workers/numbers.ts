import { growing, type MetricSet } from '../ops/metric-set.ts'
import { addUp } from '../ops/metrics.ts'
import type { Slot } from './slot.ts'

/** How long a worker may take to tell its numbers. */
const DEADLINE_MS = 2000

/** What the workers have counted, those that have died included. */
export class Numbers {
  readonly #slots: readonly Slot[]
  readonly #deadlineMs: number
  /** What each told last. */
  readonly #latest = new Map<number, MetricSet>()
  /** By the question's number: those that have not answered, and what to do when all have. */
  readonly #asked = new Map<number, { readonly waiting: Set<number>; readonly done: () => void }>()
  /** What those had counted that are no more. */
  #departed: Promise<MetricSet> = Promise.resolve([])
  #lastId = 0

  constructor(slots: readonly Slot[], options: { readonly deadlineMs?: number } = {}) {
    this.#slots = slots
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS
  }

  /** Of each worker that answers all, of the others what only grows as they told it last, and the group's own. */
  async gather(): Promise<readonly MetricSet[]> {
    const asked = this.#slots.filter(({ state }) => state === 'up')
    const late = await this.#ask(asked)
    // One that has answered and died since is among the departed.
    const heard = asked.filter(({ number }) => !late.has(number) && this.#latest.has(number))
    const silent = asked.filter(({ number }) => late.has(number))
    const sets = heard.map(({ number }) => this.#latest.get(number) ?? [])
    const before = silent.map(({ number }) => growing(this.#latest.get(number) ?? []))
    const own = this.#own(new Set(silent))
    return [...sets, ...before, await this.#departed, own]
  }

  measured(slot: number, id: number, set: MetricSet): void {
    this.#latest.set(slot, set)
    this.#settle(slot, id)
  }

  /** The process of this slot is no more. */
  ended(slot: number): void {
    for (const id of this.#asked.keys()) this.#settle(slot, id)
    const set = this.#latest.get(slot)
    if (set === undefined) return
    this.#latest.delete(slot)
    this.#departed = this.#departed.then((before) => addUp([before, growing(set)]))
  }

  /** Resolves with those that did not answer in time. */
  #ask(slots: readonly Slot[]): Promise<ReadonlySet<number>> {
    const id = ++this.#lastId
    const waiting = new Set(slots.map(({ number }) => number))
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.#asked.delete(id)
        resolve(waiting)
      }
      const timer = setTimeout(done, this.#deadlineMs)
      this.#asked.set(id, { waiting, done })
      for (const slot of slots) slot.send({ type: 'measure', id })
      if (slots.length === 0) done()
    })
  }

  #settle(slot: number, id: number): void {
    const question = this.#asked.get(id)
    if (question === undefined || !question.waiting.delete(slot)) return
    if (question.waiting.size === 0) question.done()
  }

  #own(silent: ReadonlySet<Slot>): MetricSet {
    const states = new Map(['up', 'starting', 'stopping', 'down', 'silent'].map((state) => [state, 0]))
    for (const slot of this.#slots) {
      const state = silent.has(slot) ? 'silent' : slot.state
      states.set(state, (states.get(state) ?? 0) + 1)
    }
    const restarts = this.#slots.reduce((sum, slot) => sum + slot.restarts, 0)
    return [
      {
        name: 'livemessages_workers',
        help: 'Workers of this port; silent: it did not tell its numbers in time',
        type: 'gauge',
        aggregator: 'sum',
        values: [...states].map(([state, value]) => ({ value, labels: { state } })),
      },
      {
        name: 'livemessages_worker_restarts_total',
        help: 'Workers started in place of one that had ended',
        type: 'counter',
        aggregator: 'sum',
        values: [{ value: restarts, labels: {} }],
      },
    ]
  }
}
