import t from 'tap'
import { MemoryJournal } from '../../src/journal/memory.ts'
import { forgetContract } from './forget-contract.ts'

forgetContract(t, 'memory', (_t, { windowBytes }) => {
  let now = 1_700_000_000_000
  return Promise.resolve({
    journal: new MemoryJournal({ windowBytes, now: () => now }),
    advance: (ms: number) => {
      now += ms
    },
  })
})

t.test('memory: what is forgotten gives its memory back, and an emptied channel its place in time', (t) => {
  let now = 1_000_000
  const journal = new MemoryJournal({ windowBytes: 10_000_000, now: () => now })
  const keep = new Map([['chat', { count: 2, maxAgeMs: 1000 }]])
  journal.retain(keep)
  journal.start({ onEntry: () => undefined, onEpoch: () => undefined, onReady: () => undefined })
  t.teardown(() => journal.stop())
  for (let index = 0; index < 500; index++) {
    for (const json of ['1', '2', '3']) journal.append({ channel: `chat:${index}`, json })
  }
  const quiet = journal.head
  for (let index = 0; index < 500; index++) journal.forget({ channel: `chat:${index}` })
  t.equal(journal.bytes, 0)
  t.same(journal.since(['chat:0', 'chat:499', 'chat:new'], quiet, 1).lost, [])
  t.same(journal.since(['chat:7'], 0, 1).lost, ['chat:7'], 'its first was gone before')
  t.same(journal.since(['chat:new'], 0, 1).lost, [], 'that is no loss of other channels')
  now += 2000
  journal.retain(keep)
  t.same(journal.since(['chat:new'], quiet, 1).lost, [])
  t.same(journal.since(['chat:7'], 0, 1).lost, ['chat:7'])
  t.end()
})
