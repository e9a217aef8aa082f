import t from 'tap'
import { Ledger, mintEpoch } from '../../src/journal/amqp-stream-ledger.ts'
import { decodeStreamMessage, encodeStreamMessage } from '../../src/journal/amqp-stream-message.ts'
import type { StreamEntry, StreamMessage } from '../../src/journal/amqp-stream-message.ts'
import type { Entry } from '../../src/journal/journal.ts'

const KEEP = new Map([['chat', { count: 1000, maxAgeMs: 1e12 }]])
const START = 1_700_000_000_000

const entry = (json: string, more: Partial<StreamEntry> = {}): StreamEntry => ({
  ...{
    channel: 'chat:a',
    json,
    exclude: undefined,
    key: undefined,
    mark: undefined,
    lease: undefined,
    joined: false,
  },
  ...more,
})

/** A message of producer `p`; its number is `session.seq`. */
const message = (number: string, entries: StreamEntry[] = [], more: Partial<StreamMessage> = {}): Buffer => {
  const [session, seq] = number.split('.').map(Number)
  return encodeStreamMessage({
    ...{ producer: 'p', session: session!, seq: seq!, time: START, epoch: '1xa', proposal: null },
    ...{ keyMs: 1000, entries, ...more },
  })
}

const read = (contents: Buffer[], from = 0) => {
  const ledger = new Ledger({ windowBytes: 1e7 })
  ledger.window.retain(KEEP)
  const entries: Entry[] = []
  let epochs = 0
  const handlers = { onEntry: (one: Entry) => void entries.push(one), onEpoch: () => void epochs++ }
  const take = (content: Buffer, offset: number) => ledger.take(offset, content, handlers)
  const verdicts = contents.slice(from).map((content, index) => take(content, from + index))
  return {
    ledger,
    entries,
    take,
    verdicts,
    get epochs() {
      return epochs
    },
    data: () => entries.map((one) => (JSON.parse(one.message) as { data: unknown }).data),
  }
}

void t.test('a message says what it was told, whatever its texts hold', async (t) => {
  const said: StreamMessage = {
    ...{ producer: 'ab12', session: 3, seq: 9, time: START, epoch: '1xa', proposal: '1xb', keyMs: 5 },
    entries: [
      entry('{"text":"ü \\n"}'),
      entry('[1]', { exclude: 's', key: 'k "\n', mark: '[m', lease: 7, joined: true }),
      entry('""', { channel: 'chat:b' }),
    ],
  }
  t.same(decodeStreamMessage(encodeStreamMessage(said)), said)
  for (const other of ['', '[]', '[2,"p",0,0,0,null,null,0]', '[1,"p",0,0,-1,null,null,0]', '{"a":1}']) {
    t.equal(decodeStreamMessage(Buffer.from(other)), null, other)
  }
  const noEpoch = encodeStreamMessage({ ...said, epoch: null })
  t.equal(decodeStreamMessage(noEpoch), null, 'entries without an epoch are nobody’s')
})

void t.test('positions come from offsets: strictly increasing, adjacent within a message', async (t) => {
  const { entries, ledger } = read([
    message('0.0'),
    message('0.1', [entry('1'), entry('2')]),
    message('0.2', [entry('3')]),
  ])
  t.same(
    entries.map(({ position }) => position),
    [1025, 1026, 2049],
  )
  t.equal(ledger.window.head, 2049)
})

void t.test('what the broker does twice or out of order is void, on every node', async (t) => {
  const contents = [
    message('0.0'),
    message('0.1', [entry('1')]),
    message('0.1', [entry('1')]),
    message('0.3', [entry('"too early"')]),
    message('0.2', [entry('2')]),
    message('0.3', [entry('3')]),
  ]
  const { data, verdicts } = read(contents)
  t.same(data(), [1, 2, 3])
  t.same(
    verdicts.map((verdict) => verdict?.placed === null),
    [false, false, true, true, false, false],
  )
})

void t.test('after a new session was announced, what comes late of the one before is void', async (t) => {
  const { data } = read([
    message('0.0'),
    message('0.1', [entry('1')]),
    message('1.0'),
    message('0.2', [entry('2')]),
    message('1.1', [entry('2')]),
    message('2.1', [entry('"never announced"')]),
    message('1.2', [entry('3')]),
  ])
  t.same(data(), [1, 2, 3])
})

void t.test(
  'the second of a key is dropped while the first’s time lasts, by the messages’ own times',
  async (t) => {
    const { data, verdicts } = read([
      message('0.0'),
      message('0.1', [entry('1', { key: 'k' })]),
      message('0.2', [entry('1', { key: 'k' }), entry('2')], { time: START + 999 }),
      message('0.3', [entry('9', { key: 'k' })], { time: START + 999 }),
      message('0.4', [entry('3', { key: 'k' })], { time: START + 1000 }),
    ])
    t.same(data(), [1, 2, 3])
    t.match(verdicts[2]?.placed, [
      { position: 1025, duplicate: true },
      { position: 2049, duplicate: false },
    ])
    t.match(verdicts[3]?.placed, [{ code: 'conflict' }])
  },
)

void t.test('a conflict takes its whole group with it, and no other', async (t) => {
  const { data, verdicts } = read([
    message('0.0'),
    message('0.1', [entry('1', { key: 'k' })]),
    message('0.2', [entry('2'), entry('3'), entry('4', { key: 'k', joined: true }), entry('5')]),
  ])
  t.same(data(), [1, 2, 5])
  t.match(verdicts[2]?.placed, [
    { position: 2049 },
    { code: 'conflict' },
    { code: 'conflict' },
    { position: 2050 },
  ])
})

void t.test(
  'what comes late of a lease that another has taken over is dropped, though not for ever',
  async (t) => {
    const under = (lease: number, json: string) => [entry(json, { mark: 'm', lease })]
    const { data, verdicts, entries } = read([
      message('0.0'),
      message('0.1', under(4, '1')),
      message('0.1', under(5, '2'), { producer: 'q' }),
      message('0.2', under(4, '"late"')),
      message('0.2', under(5, '3'), { producer: 'q' }),
      message('0.3', under(4, '"restored"'), { time: START + 60_000 }),
    ])
    t.same(data(), [1, 2, 3, 'restored'], 'two of one mark are two, as one backend may say the same twice')
    t.match(verdicts[3]?.placed, [{ name: 'LeaseLost' }])
    t.equal(entries[0]?.mark, 'm')
  },
)

void t.test(
  'the first epoch that is stated counts; a later generation follows it, an earlier does not',
  async (t) => {
    const reader = read([
      message('0.0', [], { producer: 'a', epoch: null, proposal: '1xa' }),
      message('0.0', [], { producer: 'b', epoch: null, proposal: '1xb' }),
    ])
    t.equal(reader.ledger.epoch, '')
    t.equal(reader.ledger.proposal, '1xa')
    reader.take(message('0.1', [], { producer: 'b', epoch: '1xa' }), 2)
    reader.take(message('0.1', [], { producer: 'a', epoch: '1xz' }), 3)
    reader.take(message('0.2', [entry('1')], { producer: 'a', epoch: '1xa' }), 4)
    t.equal(reader.ledger.epoch, '1xa')
    t.equal(reader.epochs, 0)
    const renewed = mintEpoch('1xa', 'n')
    reader.take(message('0.3', [], { producer: 'a', epoch: renewed }), 5)
    reader.take(message('0.4', [entry('2')], { producer: 'a', epoch: '1xa' }), 6)
    t.equal(reader.ledger.epoch, renewed)
    t.equal(reader.epochs, 1)
    t.match(reader.entries[1]?.message, `"id":"${renewed}-${6 * 1024 + 1}"`)
    t.same(reader.ledger.window.since(['chat:a'], 0, 10).lost, ['chat:a'], 'what was before proves nothing')
  },
)

void t.test(
  'whoever begins in the middle ends up with the same, and claims nothing from before',
  async (t) => {
    const contents: Buffer[] = [message('0.0')]
    let seed = 7
    const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below
    const producers = ['p', 'q', 'r'].map((producer) => ({ producer, session: 0, seq: 0 }))
    let time = START
    for (let index = 0; index < 4000; index++) {
      const one = producers[random(3)]!
      time += random(100)
      if (random(50) === 0) Object.assign(one, { session: one.session + 1, seq: -1 })
      one.seq++
      const entries =
        one.seq === 0 ? [] : [entry(String(random(3)), { key: random(2) ? `k${random(20)}` : undefined })]
      const content = message(`${one.session}.${one.seq}`, entries, { producer: one.producer, time })
      contents.push(content)
      // The network brings some again, at once or late.
      if (random(20) === 0) contents.push(contents[Math.max(0, contents.length - 1 - random(30))]!)
    }
    const whole = read(contents)
    const late = read(contents, 900)
    t.ok(late.entries.length > 500 && late.entries.length < whole.entries.length)
    const from = late.entries[0]!.position
    t.strictSame(
      late.entries,
      whole.entries.filter(({ position }) => position >= from),
    )
    const floor = late.ledger.window.since(['chat:a'], from - 1025, 10)
    t.same(floor.lost, ['chat:a'])
  },
)
