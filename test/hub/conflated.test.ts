import t from 'tap'
import { Conflated } from '../../src/hub/conflated.ts'

function message(data: unknown): string {
  return `{"channel":"quotes:a","data":${JSON.stringify(data)},"time":1}`
}

function filled(maxKeys = 100, maxBytes?: number): Conflated {
  return new Conflated({ maxKeys: () => maxKeys, ...(maxBytes === undefined ? {} : { maxBytes }) })
}

function datas(conflated: Conflated, channel = 'quotes:a'): unknown[] {
  return conflated.all(channel).map((latest) => (JSON.parse(latest.message) as { data: unknown }).data)
}

void t.test('the latest of each key is kept, in the order of the changes', async (t) => {
  const conflated = filled()
  for (const [symbol, price] of [
    ['A', 1],
    ['B', 2],
    ['A', 3],
    [7, 4],
    ['7', 5],
  ]) {
    conflated.put('quotes:a', 'symbol', message({ symbol, price }), undefined)
  }
  t.same(datas(conflated), [
    { symbol: 'B', price: 2 },
    { symbol: 'A', price: 3 },
    { symbol: 7, price: 4 },
    { symbol: '7', price: 5 },
  ])
  t.same(conflated.since('quotes:a', 'symbol', 2)?.keys, ['A', 7, '7'])
  t.same(conflated.since('quotes:a', 'symbol', conflated.number)?.keys, [])
  t.same(conflated.all('quotes:other'), [])
  t.same(conflated.since('quotes:other', 'symbol', 0)?.keys, [])
})

void t.test('what has no key is not kept, and who has missed it knows of a gap', async (t) => {
  const conflated = filled()
  conflated.put('quotes:a', 'symbol', message({ symbol: 'A' }), undefined)
  const { number } = conflated
  const odd = [null, 1, 'symbol', ['symbol'], {}, { symbol: null }, { symbol: { x: 1 } }, { symbol: true }]
  for (const data of odd) {
    const before = conflated.number
    conflated.put('quotes:a', 'symbol', message(data), undefined)
    t.equal(conflated.since('quotes:a', 'symbol', before), null, JSON.stringify(data))
  }
  for (const field of ['length', 'constructor', '__proto__']) {
    conflated.put('quotes:b', field, message('text'), undefined)
    conflated.put('quotes:b', field, message({}), undefined)
  }
  conflated.put('quotes:a', 'symbol', '{"channel":"quotes:a","data":{"symbol":', undefined)
  t.same(datas(conflated), [{ symbol: 'A' }])
  t.same(datas(conflated, 'quotes:b'), [])
  t.equal(conflated.since('quotes:a', 'symbol', number), null)
})

void t.test('keys are bounded: the one that changed longest ago goes first', async (t) => {
  const conflated = filled(3)
  for (const symbol of ['A', 'B', 'C', 'A', 'D']) {
    conflated.put('quotes:a', 'symbol', message({ symbol }), undefined)
  }
  t.same(datas(conflated), [{ symbol: 'C' }, { symbol: 'A' }, { symbol: 'D' }])
  t.equal(conflated.since('quotes:a', 'symbol', 1), null, 'B, which came then, is gone')
  t.same(conflated.since('quotes:a', 'symbol', 2)?.keys, ['C', 'A', 'D'])
})

void t.test('memory is bounded: the channel that was published to longest ago goes first', async (t) => {
  const conflated = filled(1000, 100_000)
  const put = (channel: string, symbol: string): void =>
    conflated.put(channel, 'symbol', message({ symbol, text: 'x'.repeat(1000) }), undefined)
  put('quotes:old', 'A')
  const { number } = conflated
  put('quotes:used', 'A')
  for (let n = 0; n < 500; n++) {
    put('quotes:used', 'A')
    put(`quotes:${n}`, 'A')
    if (conflated.bytes > 100_000) t.fail(`${conflated.bytes} bytes`)
  }
  t.same(conflated.all('quotes:old'), [])
  t.equal(conflated.since('quotes:old', 'symbol', number - 1), null)
  t.equal(conflated.all('quotes:used').length, 1)
  for (let n = 0; n < 500; n++) put('quotes:used', `key ${n}`)
  t.ok(conflated.bytes <= 100_000)
  t.ok(conflated.all('quotes:used').length > 50)
  put('quotes:used', 'x'.repeat(200_000))
  t.ok(conflated.bytes <= 100_000, 'one that is larger than all room is not kept')
})

void t.test('another field begins anew', async (t) => {
  const conflated = filled()
  conflated.put('quotes:a', 'symbol', message({ symbol: 'A', isin: 'X' }), undefined)
  const { number } = conflated
  conflated.put('quotes:a', 'isin', message({ symbol: 'B', isin: 'Y' }), undefined)
  t.same(datas(conflated), [{ symbol: 'B', isin: 'Y' }])
  t.equal(conflated.since('quotes:a', 'symbol', number), null)
  t.equal(conflated.since('quotes:a', 'isin', 0), null)
  t.same(conflated.since('quotes:a', 'isin', number)?.keys, ['Y'])
})
