import type { Test } from 'tap'
import { formatCursor } from '../../src/journal/cursor.ts'
import type { Entry, Journal, Retention } from '../../src/journal/journal.ts'

export interface JournalUnderTest {
  readonly journal: Journal
  /** Moves the journal's clock, for retention by age. */
  advance(ms: number): void | Promise<void>
}

export type MakeJournal = (t: Test, options: { readonly windowBytes: number }) => Promise<JournalUnderTest>

const KEEP: ReadonlyMap<string, Retention> = new Map([
  ['chat', { count: 100, maxAgeMs: 60_000 }],
  ['short', { count: 3, maxAgeMs: 60_000 }],
  ['brief', { count: 100, maxAgeMs: 1000 }],
])

/** What every journal promises. */
export function journalContract(t: Test, name: string, make: MakeJournal): void {
  const started = async (t: Test, windowBytes = 1024 * 1024) => {
    const { journal, advance } = await make(t, { windowBytes })
    const entries: Entry[] = []
    journal.retain(KEEP)
    await journal.start({ onEntry: (entry) => entries.push(entry) })
    t.teardown(() => journal.stop())
    const append = async (channel: string, ...values: unknown[]) => {
      const appended: Entry[] = []
      for (const value of values)
        appended.push(await journal.append({ channel, json: JSON.stringify(value) }))
      return appended
    }
    return { journal, advance, entries, append }
  }

  t.test(
    `${name}: positions increase strictly, over all channels, and onEntry sees them in that order`,
    async (t) => {
      const { journal, entries, append } = await started(t)
      await append('chat:a', 1, 2)
      await append('chat:b', 3)
      await append('chat:a', 4)
      t.same(
        entries.map(({ channel }) => channel),
        ['chat:a', 'chat:a', 'chat:b', 'chat:a'],
      )
      for (const [index, entry] of entries.entries()) {
        if (index > 0) t.ok(entry.position > entries[index - 1]!.position)
      }
      t.equal(journal.head, entries.at(-1)!.position)
    },
  )

  t.test(`${name}: an entry is the message that clients get, with its cursor for an id`, async (t) => {
    const { journal, append } = await started(t)
    const [entry] = await append('chat:a', { text: 'ü "quoted"' })
    t.same(JSON.parse(entry!.message), {
      channel: 'chat:a',
      id: formatCursor(journal.epoch, entry!.position),
      data: { text: 'ü "quoted"' },
      time: entry!.time,
    })
  })

  t.test(`${name}: since gives what came after, and proves that it is all`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    const [first] = await append('chat:a', 1, 2)
    await append('chat:b', 3)
    const all = await journal.since(['chat:a'], before, 10)
    t.same(dataOf(all.entries), [1, 2])
    t.same(all.lost, [])
    t.equal(all.more, false)
    t.equal(all.upTo, journal.head)
    t.same(dataOf((await journal.since(['chat:a'], first!.position, 10)).entries), [2])
    t.same((await journal.since(['chat:a'], journal.head, 10)).entries, [])
    t.same((await journal.since(['chat:nobody'], journal.head, 10)).lost, [])
  })

  t.test(`${name}: several channels are merged into one order`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    await append('chat:a', 1)
    await append('chat:b', 2)
    await append('chat:c', 'not asked for')
    await append('chat:a', 3)
    await append('chat:b', 4)
    const page = await journal.since(['chat:b', 'chat:a'], before, 10)
    t.same(dataOf(page.entries), [1, 2, 3, 4])
    t.same(dataOf((await journal.last(['chat:a', 'chat:b'], 1)).entries), [3, 4])
  })

  t.test(`${name}: pages meet without gap or repetition`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    for (let index = 0; index < 25; index++) await append(index % 3 === 0 ? 'chat:a' : 'chat:b', index)
    const seen: unknown[] = []
    let position = before
    for (;;) {
      const page = await journal.since(['chat:a', 'chat:b'], position, 4)
      t.ok(page.entries.length <= 4)
      seen.push(...dataOf(page.entries))
      position = page.upTo
      if (!page.more) break
    }
    t.same(
      seen,
      Array.from({ length: 25 }, (_value, index) => index),
    )
    t.equal(position, journal.head)
  })

  t.test(`${name}: last gives the newest, oldest first`, async (t) => {
    const { journal, append } = await started(t)
    await append('chat:a', 1, 2, 3)
    t.same(dataOf((await journal.last(['chat:a'], 2)).entries), [2, 3])
    t.same(dataOf((await journal.last(['chat:a'], 50)).entries), [1, 2, 3])
    t.same((await journal.last(['chat:a'], 0)).entries, [])
    t.same((await journal.last(['chat:nobody'], 5)).entries, [])
  })

  t.test(`${name}: what is over its count is gone, and who missed it is told`, async (t) => {
    const { journal, append } = await started(t)
    const [first, second] = await append('short:a', 1, 2, 3, 4)
    t.same(dataOf((await journal.last(['short:a'], 10)).entries), [2, 3, 4])
    t.same((await journal.since(['short:a'], first!.position - 1, 10)).lost, ['short:a'])
    const whole = await journal.since(['short:a'], first!.position, 10)
    t.same(whole.lost, [])
    t.same(dataOf(whole.entries), [2, 3, 4])
    t.same(dataOf((await journal.since(['short:a'], second!.position, 10)).entries), [3, 4])
  })

  t.test(`${name}: what is past its age is gone, and who missed it is told`, async (t) => {
    const { journal, advance, append } = await started(t)
    const before = journal.head
    await append('brief:a', 1)
    await advance(600)
    const [second] = await append('brief:a', 2)
    await advance(600)
    t.same(dataOf((await journal.last(['brief:a'], 10)).entries), [2])
    t.same((await journal.since(['brief:a'], before, 10)).lost, ['brief:a'])
    await advance(600)
    t.same((await journal.last(['brief:a'], 10)).entries, [])
    t.same((await journal.since(['brief:a'], second!.position - 1, 10)).lost, ['brief:a'])
    t.same(
      (await journal.since(['brief:a'], second!.position, 10)).lost,
      [],
      'who saw the last one missed nothing',
    )
  })

  t.test(`${name}: one lost channel does not keep the others from recovering`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    await append('short:a', 1, 2, 3, 4)
    await append('chat:a', 5)
    const page = await journal.since(['short:a', 'chat:a'], before, 10)
    t.same(page.lost, ['short:a'])
    t.same(dataOf(page.entries), [5])
  })

  t.test(`${name}: a position that was never reached proves nothing`, async (t) => {
    const { journal, append } = await started(t)
    await append('chat:a', 1)
    t.same((await journal.since(['chat:a'], journal.head + 1, 10)).lost, ['chat:a'])
  })

  t.test(`${name}: a shorter retention takes hold at once`, async (t) => {
    const { journal, append } = await started(t)
    await append('chat:a', 1, 2, 3)
    journal.retain(new Map([['chat', { count: 1, maxAgeMs: 60_000 }]]))
    t.same(dataOf((await journal.last(['chat:a'], 10)).entries), [3])
  })

  t.test(`${name}: an excluded session stands in the entry`, async (t) => {
    const { journal, entries } = await started(t)
    await journal.append({ channel: 'chat:a', json: '1', exclude: 'abc' })
    t.equal(entries[0]!.exclude, 'abc')
  })

  t.test(`${name}: two of them never share an epoch`, async (t) => {
    const one = await started(t)
    const two = await started(t)
    t.not(one.journal.epoch, two.journal.epoch)
    t.match(one.journal.epoch, /^[A-Za-z0-9]+$/)
  })

  t.test(`${name}: it is ready while it runs, and stops twice as once`, async (t) => {
    const { journal } = await started(t)
    t.equal(journal.ready, true)
    await journal.stop()
    await journal.stop()
    t.equal(journal.ready, false)
  })
}

function dataOf(entries: readonly Entry[]): unknown[] {
  return entries.map((entry) => (JSON.parse(entry.message) as { data: unknown }).data)
}
