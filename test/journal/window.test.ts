import t from 'tap'
import { makeEntry } from '../../src/journal/entry.ts'
import type { Retention } from '../../src/journal/journal.ts'
import { Window } from '../../src/journal/window.ts'

const KEEP: Retention = { count: 100_000, maxAgeMs: 60_000 }

function setup(windowBytes: number, ...subsystems: string[]) {
  const state = { now: 1_700_000_000_000 }
  const window = new Window({ windowBytes, now: () => state.now })
  window.retain(new Map(subsystems.map((name) => [name, KEEP])))
  const push = (channel: string, data = 'x'.repeat(100), position = window.head + 1) => {
    window.push(makeEntry('e', position, channel, state.now, JSON.stringify(data)))
    return position
  }
  return { window, push, state }
}

t.test('a busy subsystem pushes out its own entries, and never those of one below its share', (t) => {
  const { window, push } = setup(30_000, 'busy', 'quiet', 'other')
  const first = push('quiet:a') - 1
  for (let n = 0; n < 20; n++) push(`quiet:${n}`)
  for (let n = 0; n < 1000; n++) push(`busy:${n % 3}`)
  t.ok(window.bytes <= 30_000)
  t.ok(window.bytes > 29_000, 'what nobody else uses is used')
  t.same(window.since(['quiet:a'], first, 10).lost, [])
  t.same(window.since(['busy:0'], first, 10).lost, ['busy:0'])
  t.end()
})

t.test('who was there first gives way until the shares are equal', (t) => {
  const { window, push } = setup(30_000, 'a', 'b')
  for (let n = 0; n < 300; n++) push('a:1')
  const before = window.head
  for (let n = 0; n < 20; n++) push('b:1')
  t.same(window.since(['b:1'], before, 100).lost, [], 'below its share it keeps all')
  const kept = window.last(['a:1'], 1000).entries.length
  for (let n = 0; n < 1000; n++) push('b:1')
  const a = window.last(['a:1'], 1000).entries.length
  const b = window.last(['b:1'], 1000).entries.length
  t.ok(a < kept)
  t.ok(Math.abs(a - b) <= 2, `${a} and ${b}`)
  t.end()
})

t.test('a quiet channel is proved as long as the cursor is younger than all that left', (t) => {
  const { window, push } = setup(20_000, 'chat')
  push('chat:gone')
  const cursor = window.head
  for (let n = 0; n < 500; n++) push('chat:busy')
  t.same(window.since(['chat:gone'], cursor, 10), { entries: [], lost: [], more: false, upTo: 501 })
  t.same(window.since(['chat:never'], cursor, 10).lost, [], 'nor did one that was never there miss anything')
  t.same(window.since(['chat:gone'], cursor - 1, 10).lost, ['chat:gone'])
  t.same(window.since(['chat:busy'], cursor, 10).lost, ['chat:busy'])
  t.end()
})

t.test('it proves nothing from before it began, and all since', (t) => {
  const { window, push } = setup(20_000, 'chat')
  window.reset(100)
  t.equal(window.head, 100)
  t.same(window.since(['chat:a'], 99, 10).lost, ['chat:a'])
  t.same(window.since(['chat:a'], 100, 10).lost, [])
  t.same(window.last(['chat:a'], 10).lost, ['chat:a'], 'there may be others')
  push('chat:a', 'one', 105) // what is between is void
  t.same(window.since(['chat:a'], 103, 10).entries.length, 1)
  t.same(window.since(['chat:a'], 106, 10).lost, ['chat:a'], 'beyond the head')
  t.same(window.last(['chat:a'], 1).lost, [], 'the newest is there')
  t.same(window.last(['chat:a'], 2).lost, ['chat:a'])
  window.reset(200)
  t.equal(window.bytes, 0)
  t.same(window.since(['chat:a'], 105, 10).lost, ['chat:a'])
  t.end()
})

t.test('a subsystem that a reload brings begins there; one that it takes leaves its room', (t) => {
  const { window, push } = setup(20_000, 'chat')
  push('chat:a')
  push('news:a')
  t.same(window.since(['news:a'], 1, 10).lost, ['news:a'], 'nothing is kept of it')
  t.same(window.since(['news:a'], 2, 10).lost, [])
  window.retain(new Map([['news', KEEP]]))
  t.equal(window.bytes, 0)
  push('news:a')
  t.same(window.since(['news:a'], 2, 10).entries.length, 1)
  t.same(window.since(['chat:a'], 0, 10).lost, ['chat:a'])
  t.end()
})

t.test('an entry larger than the whole window passes through', (t) => {
  const { window, push } = setup(1000, 'chat', 'news')
  const before = push('news:a')
  push('chat:a', 'x'.repeat(5000))
  t.ok(window.bytes <= 1000)
  t.equal(window.head, 2)
  t.same(window.since(['chat:a'], before, 10).lost, ['chat:a'])
  t.end()
})
