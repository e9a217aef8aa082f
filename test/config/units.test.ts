import { inspect } from 'node:util'
import t from 'tap'
import { nearest } from '../../src/config/near.ts'
import { parseDuration, parseSize } from '../../src/config/units.ts'

t.test('durations are milliseconds or have a unit', async (t) => {
  for (const [text, ms] of [
    [0, 0],
    [1500, 1500],
    ['250ms', 250],
    ['15s', 15_000],
    ['5m', 300_000],
    ['1.5h', 5_400_000],
    ['7d', 604_800_000],
    ['2w', 1_209_600_000],
    [' 10 S ', 10_000],
  ] as const) {
    t.equal(parseDuration(text), ms, String(text))
  }
})

t.test('sizes are bytes or have a unit of 1,024', async (t) => {
  for (const [text, bytes] of [
    [64, 64],
    ['512b', 512],
    ['64kb', 65_536],
    ['64KiB', 65_536],
    ['1mb', 1_048_576],
    ['1.5gb', 1_610_612_736],
  ] as const) {
    t.equal(parseSize(text), bytes, String(text))
  }
})

t.test('what is neither is refused, a number without its unit in a text included', async (t) => {
  const wrong = ['', '15', '15 seconds', '-1s', '1e3s', '1s 2', 'constructor', '5constructor', '1.s', -1, 1.5]
  for (const text of [
    ...wrong,
    Number.NaN,
    Infinity,
    null,
    undefined,
    {},
    ['15s'],
    true,
    '99999999999999999w',
  ]) {
    t.equal(parseDuration(text), null, `duration ${inspect(text)}`)
    t.equal(parseSize(text), null, `size ${inspect(text)}`)
  }
  t.equal(parseSize('15s'), null)
  t.equal(parseDuration('15kb'), null)
})

t.test('the nearest word is the one with the fewest slips, or none', async (t) => {
  t.equal(nearest('chanels', ['channels', 'hooks']), 'channels')
  t.equal(nearest('raed.ts', ['read.ts', 'real.tsx']), 'read.ts', 'swapped letters are one slip')
  t.equal(nearest('PORT', ['port']), 'port')
  t.equal(nearest('zzz', ['port', 'host']), null)
  t.equal(nearest('', ['port']), null)
})
