import t from 'tap'
import { memberText, oneLine } from '../../src/protocol/json-text.ts'

void t.test('a member is found by its name at the top level only, and its text is untouched', async (t) => {
  const cases: [string, string | undefined][] = [
    ['{"data":1}', '1'],
    ['{"a":{"data":2},"data": 1.50 }', '1.50'],
    ['{"a":"\\"data\\":3","b":["data",{"data":4}],"data":[1, {"x":"]}"}]}', '[1, {"x":"]}"}]'],
    ['{"data":"a\\\\","b":1}', '"a\\\\"'],
    ['{"data":{"a":"\\\\\\""},"b":"}"}', '{"a":"\\\\\\""}'],
    ['{"data":1,"data":2}', '2'],
    ['{"a":1}', undefined],
    ['{}', undefined],
    ['{"d\\u0061ta":1,"data":2}', undefined],
    [' {\n"data"\t:\r\n true } ', 'true'],
    ['{"data":"","":{}}', '""'],
  ]
  for (const [text, expected] of cases) {
    t.equal(memberText(text, 'data'), expected, text)
    if (expected !== undefined) t.same(JSON.parse(text).data, JSON.parse(expected))
  }
})

void t.test('whatever JSON.stringify writes is cut out as it was written', async (t) => {
  const pieces = ['"', '\\', '{', '}', '[', ']', ',', ':', '\n', 'data', 'é', '\u2028', 'x']
  // A small generator of its own: the same values at each run.
  let seed = 42
  const random = (limit: number): number => (seed = (seed * 48_271) % 2_147_483_647) % limit
  const text = (): string => Array.from({ length: random(8) }, () => pieces[random(pieces.length)]).join('')
  const value = (depth: number): unknown => {
    const kind = random(depth > 3 ? 3 : 5)
    if (kind === 0) return text()
    if (kind === 1) return random(1_000) / 7
    if (kind === 2) return random(2) === 0
    if (kind === 3) return Array.from({ length: random(4) }, () => value(depth + 1))
    return Object.fromEntries(Array.from({ length: random(4) }, () => [`k${text()}`, value(depth + 1)]))
  }
  for (let i = 0; i < 2_000; i++) {
    const data = value(0)
    const before = JSON.stringify({ channel: text(), data, key: value(1) }, null, random(2) * 2)
    const found = memberText(before, 'data')
    t.same(JSON.parse(found ?? 'undefined'), data, before)
  }
})

void t.test('line breaks between tokens become blanks, those in strings are escapes anyway', async (t) => {
  t.equal(oneLine('{\n  "a":\r\n"b\\nc"}'), '{   "a": "b\\nc"}')
  t.equal(oneLine('{"a":1}'), '{"a":1}')
})
