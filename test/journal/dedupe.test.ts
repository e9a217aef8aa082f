import t from 'tap'
import { Dedupe } from '../../src/journal/dedupe.ts'

const START = 1_700_000_000_000

function setup(limits: { windowMs?: number; maxKeys?: number } = {}) {
  const state = { now: START, windowMs: limits.windowMs ?? 1000, maxKeys: limits.maxKeys ?? 100 }
  const dedupe = new Dedupe({
    windowMs: () => state.windowMs,
    maxKeys: () => state.maxKeys,
    now: () => state.now,
  })
  return { dedupe, state }
}

t.test('a key is remembered until its time is over, and not a millisecond longer', async (t) => {
  const { dedupe, state } = setup()
  dedupe.remember('k', 'chat:a', '1', 'first')
  state.now = START + 999
  t.equal(dedupe.find('k', 'chat:a', '1')?.id, 'first')
  t.throws(() => dedupe.find('k', 'chat:a', '2'), { code: 'conflict' })
  state.now = START + 1000
  t.equal(dedupe.find('k', 'chat:a', '1'), undefined)
  t.equal(dedupe.find('k', 'chat:a', '2'), undefined, 'another body is no conflict any more')
  dedupe.remember('k', 'chat:a', '2', 'second')
  state.now = START + 1999
  t.equal(dedupe.find('k', 'chat:a', '2')?.id, 'second', 'its time begins anew')
})

t.test('what is over is given up when others come, and what is not stays', async (t) => {
  const { dedupe, state } = setup()
  for (let index = 0; index < 10; index++) dedupe.remember(`old${index}`, 'chat:a', '1', null)
  state.now = START + 500
  dedupe.remember('young', 'chat:a', '1', 'young')
  t.equal(dedupe.size, 11)
  state.now = START + 1000
  dedupe.remember('new', 'chat:a', '1', 'new')
  t.equal(dedupe.size, 2)
  t.equal(dedupe.find('young', 'chat:a', '1')?.id, 'young')
})

t.test('of too many keys the oldest go first, the newest never', async (t) => {
  const { dedupe, state } = setup({ maxKeys: 3 })
  for (const key of ['a', 'b', 'c']) dedupe.remember(key, 'chat:a', '1', key)
  t.equal(dedupe.size, 3)
  dedupe.remember('a', 'chat:a', '1', 'again')
  dedupe.remember('d', 'chat:a', '1', 'd')
  t.equal(dedupe.size, 3)
  t.equal(dedupe.find('b', 'chat:a', '1'), undefined, 'the oldest, for a came again')
  for (const [key, id] of [
    ['a', 'again'],
    ['c', 'c'],
    ['d', 'd'],
  ] as const) {
    t.equal(dedupe.find(key, 'chat:a', '1')?.id, id)
  }
  state.maxKeys = 1
  dedupe.remember('e', 'chat:a', '1', 'e')
  t.equal(dedupe.size, 1, 'a smaller limit holds at once')
  t.equal(dedupe.find('e', 'chat:a', '1')?.id, 'e')
})

t.test('a publication that failed has not used its key up', async (t) => {
  const { dedupe } = setup()
  const failing = Promise.reject(new Error('no journal'))
  dedupe.remember('k', 'chat:a', '1', failing)
  t.equal(dedupe.find('k', 'chat:a', '1')?.id, failing, 'while it is under way')
  await t.rejects(failing)
  t.equal(dedupe.find('k', 'chat:a', '1'), undefined)
})

t.test('channels are apart', async (t) => {
  const { dedupe } = setup()
  dedupe.remember('k', 'chat:a', '1', 'a')
  t.equal(dedupe.find('k', 'chat:b', '2'), undefined)
})
