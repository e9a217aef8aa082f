import t from 'tap'
import { Lane } from '../../src/sources/lane.ts'

void t.test('what is handled at once costs no turn, what takes time holds those behind it', async (t) => {
  const done: number[] = []
  let release = (): void => {}
  const lane = new Lane<number>((item) => {
    if (item !== 2) return void done.push(item)
    return new Promise<void>((resolve) => (release = resolve)).then(() => void done.push(item))
  })
  lane.push(1)
  t.same(done, [1], 'in the same turn')
  for (const item of [2, 3, 4]) lane.push(item)
  t.same(done, [1])
  t.equal(lane.waiting, 2)
  t.equal(await lane.idle(5), false, 'a wait that ends')
  release()
  t.equal(await lane.idle(1_000), true)
  t.same(done, [1, 2, 3, 4])
})

void t.test('an item that brings another one does not nest', async (t) => {
  const done: number[] = []
  const lane: Lane<number> = new Lane((item) => {
    if (item < 100_000) lane.push(item + 1)
    done.push(item)
  })
  lane.push(0)
  t.equal(done.length, 100_001)
})

void t.test('what waits can be forgotten', async (t) => {
  const done: number[] = []
  const lane = new Lane<number>(async (item) => void done.push(item))
  for (const item of [1, 2, 3]) lane.push(item)
  lane.clear()
  await lane.idle(1_000)
  t.same(done, [1])
})

void t.test('it tells each time that it is idle', async (t) => {
  let idle = 0
  const lane = new Lane<number>(
    (item) => (item === 1 ? undefined : Promise.resolve()),
    () => void idle++,
  )
  lane.push(1)
  t.equal(idle, 1)
  lane.push(2)
  lane.push(2)
  t.equal(idle, 1)
  await lane.idle(1_000)
  t.equal(idle, 2)
})

void t.test(
  'what is taken lets the next follow in the same turn, and is in hand until it is kept',
  async (t) => {
    const keep: (() => void)[] = []
    let idle = 0
    const lane = new Lane<number>(
      (item) => {
        const taken = { kept: new Promise<void>((resolve) => keep.push(resolve)) }
        return item === 2 ? Promise.resolve(taken) : taken
      },
      () => void idle++,
    )
    lane.push(1)
    lane.push(2)
    lane.push(3)
    t.equal(keep.length, 2, 'in the same turn')
    await new Promise(setImmediate)
    t.equal(keep.length, 3)
    t.equal(lane.inHand, 3)
    t.equal(await lane.idle(5), false)
    for (const one of keep) one()
    t.equal(await lane.idle(1_000), true)
    t.equal(lane.inHand, 0)
    t.equal(idle, 1)
  },
)
