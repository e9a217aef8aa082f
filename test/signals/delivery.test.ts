import t, { type Test } from 'tap'
import type { Log } from '../../src/ops/log.ts'
import { Delivery, type DeliveryOptions } from '../../src/signals/delivery.ts'
import { Tally } from '../../src/signals/tally.ts'
import type { Verdict, Waiting } from '../../src/signals/target.ts'
import { until } from '../support/wait.ts'

interface Setup {
  readonly delivery: Delivery
  readonly lines: readonly string[]
  readonly tally: Tally
  /** What waits. */
  readonly waiting: Waiting[]
  readonly taken: string[]
  /** What the database and the target do from now on. */
  unreadable: boolean
  stuck: boolean
  verdict: Verdict
  attempts: number
}

function setup(t: Test, retry: DeliveryOptions['retry'] = { minMs: 5, maxMs: 20 }): Setup {
  const lines: string[] = []
  const say = (_fields: object, msg: string): void => void lines.push(msg)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is called of it
  const log = { warn: say, info: say, debug: () => undefined } as unknown as Log
  const tally = new Tally(log)
  const waiting: Waiting[] = []
  const taken: string[] = []
  const queue = {
    peek: (most: number) =>
      state.unreadable ? Promise.reject(new Error('no database')) : Promise.resolve(waiting.slice(0, most)),
    remove: (some: readonly Waiting[]) => {
      if (state.stuck) return Promise.reject(new Error('no database'))
      for (const { key } of some)
        waiting.splice(
          waiting.findIndex((one) => one.key === key),
          1,
        )
      return Promise.resolve()
    },
  }
  const target = {
    name: 'app',
    start: () => undefined,
    stop: () => Promise.resolve(),
    deliver: (some: readonly Waiting[]) => {
      state.attempts++
      if (state.verdict.taken) taken.push(...some.map(({ key }) => key))
      return Promise.resolve(state.verdict)
    },
  }
  const delivery = new Delivery({ target, queue, tally, log, active: () => true, pollMs: 10, retry })
  t.teardown(() => delivery.stop(0))
  const verdict: Verdict = { taken: true }
  const state: Setup = {
    ...{ delivery, lines, tally, waiting, taken, verdict },
    ...{ unreadable: false, stuck: false, attempts: 0 },
  }
  return state
}

const failedOf = (tally: Tally): number | undefined =>
  [...tally].find(([, outcome]) => outcome === 'failed')?.[2]

t.test('a database that is away is not told as the outage of a target', async (t) => {
  const state = setup(t)
  state.unreadable = true
  state.waiting.push({ key: '1', body: '{}' })
  state.delivery.start()
  await until('it is told', () => state.lines.length > 0)
  t.strictSame(state.lines, ['signals that wait can not be read, trying on'])
  state.unreadable = false
  await until('it is taken', () => state.waiting.length === 0)
  t.strictSame(state.taken, ['1'])
  t.equal(failedOf(state.tally), 0, 'no attempt at the target was in vain')
  t.equal(state.lines.length, 1)
})

t.test('one that is too large is given up once, though its removal takes some attempts', async (t) => {
  const state = setup(t)
  state.verdict = { taken: false, reason: 'status 413', tooLarge: true }
  state.stuck = true
  state.waiting.push({ key: '1', body: '{}' })
  state.delivery.start()
  await until('an attempt', () => state.attempts > 0)
  await new Promise((resolve) => setTimeout(resolve, 100))
  state.stuck = false
  await until('it is gone', () => state.waiting.length === 0)
  t.equal([...state.tally].find(([, outcome]) => outcome === 'given_up')?.[2], 1)
  t.strictSame(state.lines, ['signals are given up'])
})

t.test('a target that says that it is there again is told at once', async (t) => {
  const state = setup(t, { minMs: 600_000, maxMs: 600_000 })
  state.verdict = { taken: false, reason: 'away' }
  state.waiting.push({ key: '1', body: '{}' })
  state.delivery.start()
  await until('the outage', () => state.lines.includes('signals are not taken, trying on'))
  state.verdict = { taken: true }
  // It may not have gone to rest yet: said again and again it would cut each pause.
  await until('it is taken', () => {
    state.delivery.again()
    return state.taken.length > 0
  })
  t.strictSame(state.lines, ['signals are not taken, trying on', 'signals are taken again'])
})

t.test('that a target is there again does not make a loop of it where the database is away', async (t) => {
  const state = setup(t, { minMs: 100, maxMs: 100 })
  let reads = 0
  Object.defineProperty(state, 'unreadable', { get: () => (reads++, true) })
  state.delivery.start()
  state.delivery.again()
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.ok(reads < 10, `${reads} attempts`)
})
