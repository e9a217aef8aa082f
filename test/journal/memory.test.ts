import t from 'tap'
import { MemoryJournal } from '../../src/journal/memory.ts'
import { journalContract } from './contract.ts'

journalContract(
  t,
  'memory',
  { reachesBeyondWindow: false },
  (_t, { windowBytes, idempotencyMs = 60_000 }) => {
    let now = 1_700_000_000_000
    return Promise.resolve({
      journal: new MemoryJournal({ windowBytes, idempotencyMs: () => idempotencyMs, now: () => now }),
      advance: (ms: number) => {
        now += ms
      },
    })
  },
)

t.test('memory: over its budget the oldest of all channels go first', async (t) => {
  const journal = new MemoryJournal({ windowBytes: 20_000 })
  journal.retain(new Map([['chat', { count: 1000, maxAgeMs: 60_000 }]]))
  journal.start({ onEntry: () => undefined, onEpoch: () => undefined, onReady: () => undefined })
  t.teardown(() => journal.stop())
  journal.append({ channel: 'chat:quiet', json: '1' })
  const beforeBusy = journal.head
  for (let index = 0; index < 500; index++) {
    journal.append({ channel: `chat:busy${index % 3}`, json: JSON.stringify('x'.repeat(100)) })
  }
  t.ok(journal.bytes <= 20_000)
  t.ok(journal.bytes > 15_000)
  t.same(journal.last(['chat:quiet'], 1).entries, [])
  t.same(journal.since(['chat:quiet'], 0, 1).lost, ['chat:quiet'])
  t.same(journal.since(['chat:busy0'], beforeBusy, 1).lost, ['chat:busy0'])
  t.same(journal.since(['chat:busy0'], journal.head - 10, 100).lost, [])
})

t.test('memory: a random mix of channels, counts and ages never lies and keeps its books', async (t) => {
  let now = 0
  const journal = new MemoryJournal({ windowBytes: 30_000, now: () => now })
  journal.retain(
    new Map([
      ['a', { count: 5, maxAgeMs: 500 }],
      ['b', { count: 50, maxAgeMs: 100 }],
    ]),
  )
  const all: { channel: string; position: number }[] = []
  journal.start({ onEntry: (entry) => all.push(entry), onEpoch: () => undefined, onReady: () => undefined })
  t.teardown(() => journal.stop())
  let seed = 42
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return seed % below
  }
  let proofs = 0
  for (let step = 0; step < 20_000; step++) {
    now += random(5)
    journal.append({ channel: `${random(2) === 0 ? 'a' : 'b'}:${random(10)}`, json: '"data"' })
    const channel = `${random(2) === 0 ? 'a' : 'b'}:${random(10)}`
    const since = Math.max(0, journal.head - random(80))
    const page = journal.since([channel], since, 1000)
    if (page.lost.length > 0) continue
    proofs++
    const expected = all.filter((entry) => entry.channel === channel && entry.position > since)
    if (expected.length !== page.entries.length) t.fail(`${channel} since ${since} at ${journal.head}`)
    // Only the end is looked at below; a longer record would make the check quadratic.
    if (all.length > 2000) all.splice(0, 1000)
  }
  t.ok(proofs > 5000)
  t.ok(journal.bytes <= 30_000)
  now += 10_000
  journal.retain(new Map())
  t.equal(journal.bytes, 0)
})
