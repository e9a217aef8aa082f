import type { Test } from 'tap'
import type { Entry, Forgotten, Journal, Retention } from '../../src/journal/journal.ts'
import { until } from '../support/wait.ts'
import type { MakeOptions } from './contract.ts'

export type MakeForgetful = (
  t: Test,
  options: MakeOptions,
) => Promise<{ readonly journal: Journal; readonly advance: (ms: number) => void | Promise<void> }>

const KEEP: ReadonlyMap<string, Retention> = new Map([
  ['chat', { count: 10_000, maxAgeMs: 600_000 }],
  ['short', { count: 3, maxAgeMs: 600_000 }],
])

/** What every journal promises of what it was told to forget. */
export function forgetContract(t: Test, name: string, make: MakeForgetful): void {
  const started = async (t: Test, windowBytes = 1024 * 1024) => {
    const { journal, advance } = await make(t, { windowBytes })
    const entries: Entry[] = []
    const forgotten: (Forgotten & { readonly after: number })[] = []
    journal.retain(KEEP)
    await journal.start({
      onEntry: (entry) => entries.push(entry),
      onForget: (told) => forgotten.push({ ...told, after: entries.length }),
      onEpoch: () => t.fail('no reason for a new epoch'),
      onReady: () => undefined,
    })
    t.teardown(() => journal.stop())
    await until('the journal is ready', () => journal.ready)
    const append = async (channel: string, ...values: unknown[]): Promise<number[]> => {
      const positions: number[] = []
      for (const value of values) {
        const { position } = await journal.append({ channel, json: JSON.stringify(value) })
        positions.push(position)
      }
      await until('they have come', () => journal.head >= (positions.at(-1) ?? 0))
      return positions
    }
    return { journal, advance, entries, forgotten, append }
  }

  t.test(`${name}: a forgotten publication is void: no read gives it, and no proof is broken`, async (t) => {
    const { journal, forgotten, append } = await started(t)
    const before = journal.head
    const [one, two, three] = await append('chat:a', 1, 2, 3)
    await append('chat:b', 'other')
    const { count, position } = await journal.forget({ channel: 'chat:a', positions: [two!] })
    t.equal(count, 1)
    t.ok(position <= journal.head)
    const all = await journal.since(['chat:a'], before, 10)
    t.same([dataOf(all.entries), all.lost, all.more, all.upTo], [[1, 3], [], false, journal.head])
    t.same(dataOf((await journal.since(['chat:a'], one!, 10)).entries), [3])
    const across = await journal.since(['chat:a'], two!, 10)
    t.same([dataOf(across.entries), across.lost], [[3], []], 'a cursor at a void is a cursor')
    t.same(dataOf((await journal.last(['chat:a'], 2)).entries), [1, 3])
    t.same(dataOf((await journal.left(new Map([['chat:a', before]]), 10)).entries), [1, 3])
    t.same(dataOf((await journal.since(['chat:a', 'chat:b'], before, 10)).entries), [1, 3, 'other'])
    t.match(forgotten, [{ channel: 'chat:a', positions: [two] }])
    await journal.forget({ channel: 'chat:a', positions: [three!, one!] })
    t.same((await journal.last(['chat:a'], 5)).entries, [])
  })

  t.test(`${name}: a forgotten channel is empty, and goes on above all that was`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    const gone = await append('chat:a', 1, 2, 3, 4)
    const [kept] = await append('chat:b', 'b')
    t.equal((await journal.forget({ channel: 'chat:a' })).count, 4)
    const page = await journal.since(['chat:a'], gone[1]!, 10)
    t.same([page.entries, page.lost, page.more], [[], [], false])
    t.same((await journal.since(['chat:a'], before, 10)).lost, [])
    t.same((await journal.last(['chat:a'], 5)).entries, [])
    const [next] = await append('chat:a', 5)
    t.ok(next! > kept!)
    const after = await journal.since(['chat:a', 'chat:b'], before, 10)
    t.same([dataOf(after.entries), after.lost], [['b', 5], []])
    t.same(dataOf((await journal.last(['chat:a'], 5)).entries), [5])
    t.equal(journal.bytes > 0, true)
  })

  t.test(`${name}: forgetting again, or what was never there, changes nothing`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    const [one, two] = await append('chat:a', 1, 2)
    const [other] = await append('chat:b', 'b')
    await journal.forget({ channel: 'chat:a', positions: [one!] })
    const again = await journal.forget({ channel: 'chat:a', positions: [one!] })
    t.equal(again.count, 0)
    const strangers = await journal.forget({ channel: 'chat:a', positions: [other!, 10 ** 12, 0] })
    t.equal(strangers.count, 0, 'of another channel, and of none')
    t.equal((await journal.forget({ channel: 'chat:nobody' })).count, 0)
    t.same(dataOf((await journal.since(['chat:a', 'chat:b'], before, 10)).entries), [2, 'b'])
    t.same(dataOf((await journal.since(['chat:a'], two! - 1, 10)).entries), [2])
  })

  t.test(`${name}: pages with voids at their borders end, and have the rest in order`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    const positions = await append('chat:a', ...Array.from({ length: 40 }, (_value, index) => index))
    // The last of the first page, the first of the second, the last of all.
    await journal.forget({ channel: 'chat:a', positions: [9, 10, 11, 12, 39].map((at) => positions[at]!) })
    const read: unknown[] = []
    let position = before
    for (let pages = 0; pages < 20; pages++) {
      const page = await journal.since(['chat:a'], position, 10)
      t.same(page.lost, [])
      t.ok(page.upTo >= position)
      read.push(...dataOf(page.entries))
      position = page.upTo
      if (!page.more) break
    }
    t.equal(position, journal.head)
    t.same(
      read,
      Array.from({ length: 40 }, (_value, index) => index).filter((n) => ![9, 10, 11, 12, 39].includes(n)),
    )
  })

  t.test(`${name}: who pages through a channel while it is forgotten gets to its end`, async (t) => {
    const { journal, append } = await started(t)
    const before = journal.head
    await append('chat:a', ...Array.from({ length: 60 }, (_value, index) => index))
    const first = await journal.since(['chat:a'], before, 10)
    t.equal(first.more, true)
    await journal.forget({ channel: 'chat:a' })
    await append('chat:a', 'new')
    const next = await journal.since(['chat:a'], first.upTo, 10)
    t.same([dataOf(next.entries), next.lost, next.more, next.upTo], [['new'], [], false, journal.head])
    const left = await journal.left(new Map([['chat:a', before]]), 10)
    t.same([dataOf(left.entries), left.more], [['new'], false])
    t.ok(left.gone.get('chat:a')! <= before)
  })

  t.test(
    `${name}: what retention took stays lost, and a quiet channel's proof does not suffer`,
    async (t) => {
      const { journal, append } = await started(t)
      const [quiet] = await append('short:quiet', 'q')
      const positions = await append('short:a', 1, 2, 3, 4, 5)
      await journal.forget({ channel: 'short:a' })
      t.same((await journal.since(['short:quiet'], quiet!, 10)).lost, [])
      const page = await journal.since(['short:a'], positions[2]!, 10)
      t.same([page.entries, page.lost], [[], []])
      t.same(dataOf((await journal.last(['short:quiet'], 1)).entries), ['q'])
    },
  )

  t.test(`${name}: what is forgotten with a key is not brought back by who publishes it again`, async (t) => {
    const { journal, append } = await started(t)
    const draft = { channel: 'chat:a', json: '"secret"', key: 'k' }
    const { position } = await journal.append(draft)
    await append('chat:a', 'then')
    await journal.forget({ channel: 'chat:a' })
    t.match(await journal.append(draft), { position, duplicate: true })
    t.same((await journal.last(['chat:a'], 5)).entries, [])
  })

  t.test(`${name}: forgetting under full load takes what was there and nothing else`, async (t) => {
    const { journal, entries, append } = await started(t, 16 * 1024 * 1024)
    await append('chat:a', 'first')
    const running = { now: true }
    const load = (async () => {
      for (let n = 0; running.now && n < 5000; n += 10) {
        await Promise.all(
          Array.from({ length: 10 }, async (_value, index) =>
            journal.append({ channel: `chat:${index % 2 === 0 ? 'a' : 'b'}`, json: String(n + index) }),
          ),
        )
      }
    })()
    let last = 0
    for (let round = 0; round < 8; round++) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      const told = journal.head
      const { position } = await journal.forget({ channel: 'chat:a' })
      t.ok(position >= last)
      last = position
      const page = await journal.since(['chat:a'], 0, 10_000)
      t.same(
        page.entries.filter(({ position: at }) => at <= told),
        [],
      )
    }
    running.now = false
    await load
    await journal.caughtUp()
    for (const [index, entry] of entries.entries()) {
      if (index > 0 && entry.position <= entries[index - 1]!.position) t.fail(`position ${entry.position}`)
    }
    const others = await journal.last(['chat:b'], 10_000)
    t.equal(others.entries.length, entries.filter(({ channel }) => channel === 'chat:b').length)
    t.same(
      (await journal.since(['chat:a'], last, 10_000)).entries.map(({ position }) => position),
      entries
        .filter(({ channel, position }) => channel === 'chat:a' && position > last)
        .map((e) => e.position),
    )
  })
}

export function dataOf(entries: readonly Entry[]): unknown[] {
  return entries.map((entry) => (JSON.parse(entry.message) as { data: unknown }).data)
}
