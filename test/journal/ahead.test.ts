import t from 'tap'
import { Ahead } from '../../src/journal/ahead.ts'

/** A journal of which this node has read up to `head`; catch-ups begin and end by hand. */
function nodeAt(head: number) {
  const ends: (() => void)[] = []
  const node = { head, begun: 0, end: (): void => ends.shift()!() }
  const catchUp = (): Promise<void> => {
    node.begun++
    return new Promise((resolve) => ends.push(resolve))
  }
  return { node, options: { catchUp, head: () => node.head } }
}

function waits(ahead: Ahead, ...positions: number[]): Promise<unknown> {
  return Promise.all(positions.map(async (position) => ahead.reach(position)))
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('who is ahead by a little is served by a catch-up at once, all by one', async (t) => {
  const { node, options } = nodeAt(10)
  const ahead = new Ahead(options)
  t.equal(ahead.reach(10), null, 'it is not ahead')
  const first = waits(ahead, 12, 13)
  await turn()
  t.equal(node.begun, 1)
  const late = waits(ahead, 14, 15)
  await turn()
  t.equal(node.begun, 1, 'who comes while it is under way gets the next one')
  node.head = 13
  node.end()
  await first
  await turn()
  t.equal(node.begun, 2, 'which begins at once, for this one reached all')
  node.head = 15
  node.end()
  await late
})

t.test('after a catch-up in vain the next one has time, and who waits shares it', async (t) => {
  const { node, options } = nodeAt(10)
  const ahead = new Ahead({ ...options, quietMs: 80 })
  const first = ahead.reach(11)
  await turn()
  node.end()
  await first
  const ended = performance.now()
  const waiting = waits(ahead, 11, 12, 13)
  await turn()
  t.equal(node.begun, 1)
  while (node.begun < 2) await turn()
  t.ok(performance.now() - ended >= 75)
  node.head = 13
  node.end()
  await waiting
  const next = ahead.reach(14)
  await turn()
  t.equal(node.begun, 3, 'and after one that was not in vain there is no pause')
  node.end()
  await next
})

t.test('what is far beyond all there is is not looked for again for a while', async (t) => {
  const { node, options } = nodeAt(10)
  const ahead = new Ahead({ ...options, quietMs: 1, lostMs: 100, farBeyond: 1000 })
  const first = waits(ahead, 5000, 9_007_199_254_740_991, 20)
  await turn()
  node.end()
  await first
  t.equal(ahead.reach(5000), null)
  t.equal(ahead.reach(1011), null)
  node.head = 1011
  const anew = ahead.reach(5000)
  t.not(anew, null, 'positions began anew')
  while (node.begun < 2) await turn()
  node.head = 10
  node.end()
  await anew
  t.equal(ahead.reach(1011), null)
  const near = ahead.reach(1010)
  t.not(near, null, 'one that is near may be there by now')
  while (node.begun < 3) await turn()
  node.end()
  await near
  await new Promise((resolve) => setTimeout(resolve, 110))
  const again = ahead.reach(5000)
  t.not(again, null, 'the while is over')
  while (node.begun < 4) await turn()
  node.end()
  await again
})

t.test('a catch-up that failed proves nothing', async (t) => {
  let fail = true
  const catchUp = (): Promise<void> => (fail ? Promise.reject(new Error('away')) : Promise.resolve())
  const ahead = new Ahead({ catchUp, head: () => 10, quietMs: 1 })
  await t.rejects(ahead.reach(9_000_000)!, { message: 'away' })
  fail = false
  const again = ahead.reach(9_000_000)
  t.not(again, null)
  await again
  t.equal(ahead.reach(9_000_000), null)
})
