import t from 'tap'
import { LeaseLost } from '../../src/journal/journal.ts'
import { Duty } from '../../src/sources/duty.ts'
import type { DutyOptions } from '../../src/sources/duty.ts'
import { Handover } from '../../src/sources/handover.ts'
import { decodeNotify } from '../../src/sources/notify.ts'
import type { MaybePromise } from '../../src/sources/source.ts'
import { until } from '../support/wait.ts'
import { record, recordLog } from './recorder.ts'

const NAMES = { source: 'postgres', database: undefined, channel: 'x', notify: new Map<string, string[]>() }

const make = (options: Partial<DutyOptions> = {}) => {
  let change: (token: number | null) => MaybePromise<void> = () => {}
  const leadership = {
    token: null as number | null,
    onChange: (listener: typeof change) => void (change = listener),
  }
  const { log, lines } = recordLog()
  const heard = record()
  const retry = { minMs: 5, maxMs: 10 }
  const handover = new Handover(heard, {
    log,
    retry,
    maxAttempts: 5,
    maxWaiting: 1_000,
    maxWaitingBytes: 1_000_000,
    stallMs: 5_000,
    shared: true,
    keeps: () => true,
    onTrouble: () => {},
  })
  const duty = new Duty({
    leadership,
    isJournaled: () => true,
    caughtUp: () => Promise.resolve(),
    log,
    retry,
    ...options,
  })
  const marks: string[] = []
  return {
    duty,
    handover,
    heard,
    lines,
    leadership,
    /** Marks of what was handed over. */
    handed: () => heard.notifications.map(({ mark }) => mark),
    lead: (token: number | null) => {
      leadership.token = token
      void change(token)
    },
    say: (data: unknown, pid = 1) => {
      const decoded = decodeNotify('x', JSON.stringify({ channel: 'chat:1', data }), NAMES)
      if (Array.isArray(decoded)) for (const one of decoded) duty.take(one, pid, handover)
    },
    entry: (mark: string | undefined) => duty.onEntry(mark === undefined ? {} : { mark }),
    marks,
  }
}

/** The marks of these, as another node would hand them over. */
const marksOf = async (...data: unknown[]): Promise<string[]> => {
  const node = make()
  node.lead(1)
  for (const one of data) node.say(one)
  await until('them', () => node.heard.data.length === data.length)
  return node.handed() as string[]
}

void t.test(
  'a leader hands over at once, under its lease; others keep it until its entry comes by',
  async (t) => {
    const [leader, other] = [make(), make()]
    leader.lead(7)
    await until('it to be ready', () => {
      leader.say('first')
      return leader.heard.data.length > 0
    })
    t.match(leader.heard.notifications[0], { lease: 7, mark: /^[\w-]{16}$/, patience: 'wait' })
    other.say('first')
    t.equal(other.heard.data.length, 0)
    t.equal(other.duty.size, 1)
    other.entry(leader.handed()[0])
    t.equal(other.duty.size, 0)
  },
)

void t.test('the same from two sessions, or for two subsystems, has two marks', async (t) => {
  const node = make()
  node.lead(1)
  node.say(1, 1)
  node.say(1, 2)
  const decoded = decodeNotify('own', '1', { ...NAMES, notify: new Map([['own', ['a', 'b']]]) })
  t.equal(Array.isArray(decoded) && decoded.length, 2)
  await until('both', () => node.heard.data.length === 2)
  t.equal(new Set(node.handed()).size, 2)
})

void t.test('taking over, it hands over what is left only when it has seen the whole journal', async (t) => {
  const [one, two, three] = await marksOf(1, 2, 3)
  let open = (): void => {}
  const node = make({ caughtUp: () => new Promise((resolve) => (open = resolve)) })
  for (const data of [1, 2, 3]) node.say(data)
  node.entry(one)
  node.lead(2)
  await until('it to ask', () => open.name !== 'open')
  node.say(4)
  node.entry(two)
  t.equal(node.heard.data.length, 0)
  open()
  await until('the rest', () => node.heard.data.length === 2)
  t.same(node.heard.data, [3, 4])
  t.equal(node.handed()[0], three)
})

void t.test('while the journal can not be asked the lead waits, says so once, and tries on', async (t) => {
  let failures = 5
  const node = make({
    caughtUp: () => (failures-- > 0 ? Promise.reject(new Error('no journal')) : Promise.resolve()),
  })
  node.say(1)
  node.lead(1)
  await until('it', () => node.heard.data.length === 1)
  t.equal(node.lines.filter(({ msg }) => msg.includes('waits for the journal')).length, 1)
})

void t.test(
  'what is in hand under a former lease is settled before anything goes under the next',
  async (t) => {
    const node = make()
    let keep = (): void => {}
    node.heard.handle = ({ data }) =>
      data === 1 ? { kept: new Promise<void>((resolve) => (keep = resolve)) } : undefined
    node.lead(1)
    await until('it to be taken', () => {
      if (node.duty.size === 0) node.say(1)
      return node.heard.data.length === 1
    })
    node.lead(null)
    node.say(2)
    node.lead(2)
    await new Promise((resolve) => setTimeout(resolve, 30))
    t.same(node.heard.data, [1], 'whether the first is in the journal is not known yet')
    keep()
    await until('the second', () => node.heard.data.length === 2)
    t.same(node.heard.data, [1, 2])
  },
)

void t.test(
  'what was refused for its lease goes back to its place, and is handed over under the next one',
  async (t) => {
    const node = make()
    let lost = true
    node.heard.handle = ({ lease }) => {
      if (lost && lease === 1) return { kept: Promise.reject(new LeaseLost()) }
      return undefined
    }
    node.lead(1)
    await new Promise((resolve) => setImmediate(resolve))
    for (const data of [1, 2, 3]) node.say(data)
    node.lead(null)
    await until('all to be back', () => node.duty.size === 3)
    lost = false
    node.say(4)
    const before = node.heard.data.length
    node.lead(2)
    await until('all', () => node.heard.data.length === before + 4)
    t.same(node.heard.data.slice(before), [1, 2, 3, 4])
    t.same(node.heard.rejects, [])
  },
)

void t.test('one that was journaled, and is told to be refused, is not handed over again', async (t) => {
  const node = make()
  const [mark] = await marksOf(1)
  let refuse = (): void => {}
  node.heard.handle = () => ({
    kept: new Promise<void>((_, reject) => (refuse = () => reject(new LeaseLost()))),
  })
  node.lead(1)
  await new Promise((resolve) => setImmediate(resolve))
  node.say(1)
  await until('it to be taken', () => node.heard.data.length === 1)
  node.entry(mark)
  node.lead(null)
  refuse()
  await until('nothing to be kept', () => node.duty.size === 0)
  node.lead(2)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(node.heard.data.length, 1)
})

void t.test(
  'an entry that is faster than its notification is told from one that is the next of its name',
  async (t) => {
    const [mark] = await marksOf('same')
    const node = make()
    node.entry(mark)
    node.say('same')
    t.equal(node.duty.size, 0)
    node.say('same')
    t.equal(node.duty.size, 1)
  },
)

void t.test(
  "a leader's entry that is slower than its own answer does not stand for the next of its name",
  async (t) => {
    const node = make()
    node.lead(1)
    await new Promise((resolve) => setImmediate(resolve))
    node.say('same')
    await until('it', () => node.heard.data.length === 1)
    const [mark] = node.handed()
    node.lead(null)
    node.say('same')
    node.entry(mark)
    t.equal(node.duty.size, 1, 'the second one is not journaled yet')
    node.entry(mark)
    t.equal(node.duty.size, 0)
  },
)

void t.test(
  'what nobody journals is kept for a while, not while nothing can be heard, and not without limit',
  async (t) => {
    const node = make({ keepMs: 100, maxKept: 10 })
    for (let i = 0; i < 50; i++) node.say(i)
    t.equal(node.duty.size, 10)
    t.equal(node.lines.filter(({ msg }) => msg.includes('too many')).length, 1)
    node.duty.listening('postgres', false)
    await new Promise((resolve) => setTimeout(resolve, 1_300))
    t.equal(node.duty.size, 10)
    node.duty.listening('postgres', true)
    await until('nothing to be kept', () => node.duty.size === 0)
  },
)

void t.test('the limit is one of bytes, too', (t) => {
  const node = make({ maxKeptBytes: 10_000 })
  for (let i = 0; i < 50; i++) node.say('x'.repeat(1_000))
  t.ok(node.duty.size < 10)
  t.end()
})

void t.test('a node that was frozen hands nothing over before it knows that its term is over', async (t) => {
  const node = make()
  node.lead(1)
  await new Promise((resolve) => setImmediate(resolve))
  node.say(0)
  t.equal(node.heard.data.length, 1, 'it leads')
  node.leadership.token = null // the clock says so; nobody was told yet
  node.say(1)
  t.equal(node.heard.data.length, 1)
  t.equal(node.duty.size, 1)
  node.lead(null)
  node.lead(2)
  await until('it', () => node.heard.data.length === 2)
})

void t.test('after its stop nothing is handed over', async (t) => {
  const node = make()
  node.say(1)
  node.duty.stop()
  node.lead(1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(node.heard.data.length, 0)
  t.equal(node.duty.size, 0)
})

void t.test(
  'a stop hands over what waits until its deadline; what is left, other nodes have heard',
  async (t) => {
    const node = make()
    let go = (): void => undefined
    node.heard.handle = () => new Promise((resolve) => (go = resolve))
    node.lead(1)
    await new Promise((resolve) => setImmediate(resolve))
    for (const data of [1, 2, 3]) node.say(data)
    await until('the first one', () => node.duty.size === 3)
    const stopping = node.handover.stop(200)
    go()
    await until('the second one', () => node.heard.data.length === 1)
    node.heard.handle = () => undefined
    go()
    await stopping
    t.same(node.heard.data, [1, 2, 3])
    t.equal(node.lines.filter(({ level }) => level === 'warn').length, 0)
  },
)

void t.test('what a stop leaves undone is said, and no gap where others have heard it', async (t) => {
  const node = make()
  node.heard.handle = () => new Promise(() => {})
  node.lead(1)
  await new Promise((resolve) => setImmediate(resolve))
  for (const data of [1, 2, 3]) node.say(data)
  await node.handover.stop(50)
  t.match(
    node.lines.filter(({ level }) => level === 'warn'),
    [{ count: 3, drainMs: 50, msg: /left to the other nodes/ }],
  )
  t.equal(node.heard.gaps, 0)
})
