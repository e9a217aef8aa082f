import type { Test } from 'tap'
import { formatCursor } from '../../src/journal/cursor.ts'
import type { Draft, Entry, Journal, Placed, Retention } from '../../src/journal/journal.ts'
import { until } from '../support/wait.ts'

export interface JournalUnderTest {
  readonly journal: Journal
  /** Moves the journal's clock, for retention by age. */
  advance(ms: number): void | Promise<void>
}

export interface MakeOptions {
  readonly windowBytes: number
  readonly idempotencyMs?: number
}

export type MakeJournal = (t: Test, options: MakeOptions) => Promise<JournalUnderTest>

/** What a kind of journal can't do: nothing else may be missing. */
export interface Traits {
  /** Whether `since` and `last` reach further back than the window does. */
  readonly reachesBeyondWindow: boolean
}

const KEEP: ReadonlyMap<string, Retention> = new Map([
  ['chat', { count: 100, maxAgeMs: 60_000 }],
  ['short', { count: 3, maxAgeMs: 60_000 }],
  ['brief', { count: 100, maxAgeMs: 1000 }],
])

/** What every journal promises. */
export function journalContract(t: Test, name: string, traits: Traits, make: MakeJournal): void {
  const started = async (t: Test, options: Partial<MakeOptions> = {}) => {
    const { journal, advance } = await make(t, { windowBytes: 1024 * 1024, ...options })
    const entries: Entry[] = []
    journal.retain(KEEP)
    await journal.start({
      onEntry: (entry) => entries.push(entry),
      onEpoch: () => t.fail('no reason for a new epoch'),
      onReady: () => undefined,
    })
    t.teardown(() => journal.stop())
    await until('the journal is ready', () => journal.ready)
    /** The entry at a place, when it has come. */
    const entryAt = async ({ position }: Placed): Promise<Entry> => {
      await until(`position ${position} comes`, () => journal.head >= position)
      return entries.find((entry) => entry.position === position)!
    }
    const append = async (channel: string, ...values: unknown[]) => {
      const appended: Entry[] = []
      for (const value of values) {
        appended.push(await entryAt(await journal.append({ channel, json: JSON.stringify(value) })))
      }
      return appended
    }
    return { journal, advance, entries, entryAt, append }
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

  t.test(`${name}: an excluded session and a mark stand in the entry`, async (t) => {
    const { journal, entryAt } = await started(t)
    const { exclude, mark } = await entryAt(
      await journal.append({ channel: 'chat:a', json: '"~x"', exclude: 'abc', mark: 'm1' }),
    )
    t.same([exclude, mark], ['abc', 'm1'])
    const page = await journal.last(['chat:a'], 1)
    t.same([page.entries[0]!.exclude, page.entries[0]!.mark], ['abc', 'm1'])
  })

  t.test(`${name}: drafts have their places in the order of the calls`, async (t) => {
    const { journal, entries, entryAt } = await started(t)
    const calls = Array.from({ length: 500 }, async (_value, index) =>
      journal.append({ channel: `chat:${index % 3}`, json: String(index) }),
    )
    const placed = await Promise.all(calls)
    await entryAt(placed.at(-1)!)
    t.same(
      dataOf(entries),
      Array.from({ length: 500 }, (_value, index) => index),
    )
    t.same(
      placed.map(({ position }) => position),
      entries.map(({ position }) => position),
    )
    t.ok(placed.every(({ duplicate }) => !duplicate))
  })

  t.test(`${name}: drafts that belong together stand at adjacent places`, async (t) => {
    const { journal, entryAt } = await started(t)
    const drafts = (from: number): Draft[] =>
      [0, 1, 2].map((index) => ({ channel: 'chat:a', json: String(from + index) }))
    const all = await Promise.all([
      journal.appendAll(drafts(0)),
      journal.append({ channel: 'chat:a', json: '3' }),
      journal.appendAll(drafts(4)),
    ])
    for (const placed of [all[0], all[2]]) {
      for (const index of [1, 2]) t.equal(placed[index]!.position, placed[index - 1]!.position + 1)
    }
    await entryAt(all[2][2]!)
    t.same(dataOf((await journal.last(['chat:a'], 10)).entries), [0, 1, 2, 3, 4, 5, 6])
    t.same(await journal.appendAll([]), [])
  })

  t.test(`${name}: the second draft with a key is answered with the place of the first`, async (t) => {
    const { journal, entries, append } = await started(t)
    const draft = { channel: 'chat:a', json: '1', key: 'k' }
    // At once and later: in one batch, or in two.
    const twins = await Promise.all([journal.append(draft), journal.append(draft)])
    const later = await journal.append(draft)
    t.same(
      [...twins, later].map(({ duplicate }) => duplicate),
      [false, true, true],
    )
    t.equal(new Set([...twins, later].map(({ position }) => position)).size, 1)
    const elsewhere = await journal.append({ ...draft, channel: 'chat:b' })
    t.equal(elsewhere.duplicate, false, 'the same key on another channel is another')
    await append('chat:a', 2)
    t.same(dataOf(entries), [1, 1, 2])
  })

  t.test(`${name}: a key with other data is a conflict, and nothing else suffers`, async (t) => {
    const { journal, entries, append } = await started(t)
    await journal.append({ channel: 'chat:a', json: '1', key: 'k' })
    const [before, conflict, after] = await Promise.allSettled([
      (async () => journal.append({ channel: 'chat:a', json: '2' }))(),
      (async () => journal.append({ channel: 'chat:a', json: '3', key: 'k' }))(),
      (async () => journal.append({ channel: 'chat:a', json: '4' }))(),
    ])
    t.same([before.status, after.status], ['fulfilled', 'fulfilled'])
    t.match(conflict, { status: 'rejected', reason: { name: 'ClientError', code: 'conflict' } })
    await append('chat:a', 5)
    t.same(dataOf(entries), [1, 2, 4, 5])
  })

  t.test(
    `${name}: of drafts that belong together, those that are known are not appended again`,
    async (t) => {
      const { journal, entries, append } = await started(t)
      await journal.append({ channel: 'chat:a', json: '2', key: 'k2' })
      const placed = await journal.appendAll([
        { channel: 'chat:a', json: '1', key: 'k1' },
        { channel: 'chat:a', json: '2', key: 'k2' },
        { channel: 'chat:a', json: '3', key: 'k3' },
      ])
      t.same(
        placed.map(({ duplicate }) => duplicate),
        [false, true, false],
      )
      t.equal(placed[2]!.position, placed[0]!.position + 1)
      await append('chat:a', 4)
      t.same(dataOf(entries), [2, 1, 3, 4])
    },
  )

  t.test(`${name}: a key is forgotten when its time is over`, async (t) => {
    const { journal, advance } = await started(t, { idempotencyMs: 300 })
    const first = await journal.append({ channel: 'chat:a', json: '1', key: 'k' })
    await advance(400)
    const second = await journal.append({ channel: 'chat:a', json: '2', key: 'k' })
    t.equal(second.duplicate, false)
    t.ok(second.position > first.position)
  })

  t.test(`${name}: pages meet the live stream under a burst, without gap or repetition`, async (t) => {
    const { journal, entries, append } = await started(t)
    const [first] = await append('chat:a', 'start')
    const writing = { now: true }
    const writer = (async () => {
      for (let index = 0; index < 1500; index += 5) {
        const placed = await Promise.all(
          [0, 1, 2, 3, 4].map(async (more) =>
            journal.append({ channel: 'chat:a', json: String(index + more) }),
          ),
        )
        if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
        t.equal(placed.length, 5)
      }
      writing.now = false
    })()
    journal.retain(new Map([['chat', { count: 5000, maxAgeMs: 60_000 }]]))
    let joined = 0
    while (writing.now) {
      const seen: Entry[] = []
      let position = first!.position
      for (;;) {
        const page = await journal.since(['chat:a'], position, 40)
        t.same(page.lost, [])
        seen.push(...page.entries)
        position = page.upTo
        if (!page.more && page.upTo === journal.head) break
        if (joined % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      // In this same turn: whatever comes now is live.
      const live = entries.length
      const missed = entries.filter(({ position: at }) => at > first!.position).slice(0, live)
      t.same(dataOf(seen), dataOf(missed))
      joined++
      await new Promise((resolve) => setImmediate(resolve))
    }
    await writer
    t.ok(joined > 1)
  })

  t.test(
    `${name}: ${traits.reachesBeyondWindow ? 'what left the window is found' : 'what left the window is told to be lost'}`,
    async (t) => {
      const { journal, append } = await started(t, { windowBytes: 10_000 })
      const before = journal.head
      for (let index = 0; index < 60; index++) await append('chat:a', `${index} ${'x'.repeat(300)}`)
      const page = await journal.since(['chat:a'], before, 100)
      if (traits.reachesBeyondWindow) {
        t.same(page.lost, [])
        t.equal(page.entries.length, 60)
        t.equal((await journal.last(['chat:a'], 50)).entries.length, 50)
      } else {
        t.same(page.lost, ['chat:a'])
        t.same(page.entries, [])
      }
    },
  )

  t.test(`${name}: what is left is given although some is gone, and told how far that reaches`, async (t) => {
    const { journal, append } = await started(t)
    const [quiet] = await append('short:quiet', 1)
    const [, second, third] = await append('short:a', 2, 3, 4, 5, 6)
    const page = await journal.left(new Map([['short:a', 0]]), 10)
    t.same(dataOf(page.entries), [4, 5, 6])
    // Positions need not be adjacent: anything between the last that is gone and the first that is left.
    const gone = page.gone.get('short:a')!
    t.ok(gone >= second!.position && gone < third!.position, `${gone}`)
    t.same([page.lost, page.more, page.upTo], [[], false, journal.head])
    const both = await journal.left(
      new Map([
        ['short:a', second!.position],
        ['short:quiet', quiet!.position - 1],
      ]),
      2,
    )
    t.same(dataOf(both.entries), [1, 4], 'one below what is gone of another is kept')
    t.same([both.more, both.upTo], [true, third!.position])
    const rest = await journal.left(new Map([['short:a', both.upTo]]), 10)
    t.same(dataOf(rest.entries), [5, 6])
    t.ok(rest.gone.get('short:a')! <= both.upTo)
    t.same((await journal.left(new Map([['short:a', journal.head + 5]]), 10)).entries, [])
  })

  t.test(`${name}: of what is left, nothing is past its age`, async (t) => {
    const { journal, advance, append } = await started(t)
    const [first] = await append('brief:a', 1, 2)
    await advance(600)
    await append('brief:a', 3)
    await advance(600)
    const page = await journal.left(new Map([['brief:a', 0]]), 10)
    t.same(dataOf(page.entries), [3])
    t.ok(page.gone.get('brief:a')! >= first!.position)
    await advance(600)
    t.same((await journal.left(new Map([['brief:a', 0]]), 10)).entries, [])
  })

  t.test(`${name}: of many large answers at once, each is whole or says that it is cut`, async (t) => {
    const { journal } = await started(t, {
      windowBytes: traits.reachesBeyondWindow ? 64 * 1024 : 128 * 1024 * 1024,
    })
    const channels = Array.from({ length: 256 }, (_value, index) => `chat:${index}`)
    for (const value of [1, 2, 3, 4]) {
      const json = JSON.stringify(`${value} ${'x'.repeat(25_000)}`)
      await Promise.all(channels.map(async (channel) => journal.append({ channel, json })))
    }
    await journal.caughtUp()
    const pages = await Promise.all(channels.map(async (channel) => journal.last([channel], 4)))
    for (const [index, page] of pages.entries()) {
      const channel = channels[index]!
      const start = page.starts?.get(channel)
      const whole = page.more ? await journal.left(new Map([[channel, start!]]), 10) : page
      const all = whole.more
        ? [...whole.entries, ...(await journal.since([channel], whole.upTo, 10)).entries]
        : whole.entries
      const firsts = dataOf(all).map((data) => Number((data as string).split(' ')[0]))
      if (firsts.join() !== '1,2,3,4') t.fail(`${channel}: ${firsts.join()}, more: ${page.more}`)
    }
    const alone = await journal.last(['chat:7'], 4)
    t.same([alone.entries.length, alone.more], [4, false])
  })

  t.test(`${name}: retention passes a cursor: told once, and live from then on`, async (t) => {
    const { journal, append } = await started(t)
    const [seen] = await append('short:a', 1)
    await append('short:a', 2, 3, 4, 5)
    const page = await journal.since(['short:a'], seen!.position, 10)
    t.same([page.lost, page.entries], [['short:a'], []])
    t.equal(page.upTo, journal.head)
    await append('short:a', 6)
    const next = await journal.since(['short:a'], page.upTo, 10)
    t.same([next.lost, dataOf(next.entries)], [[], [6]])
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
