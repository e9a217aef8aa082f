import t from 'tap'
import { decode, FrameError } from '../../src/protocol/decode.ts'
import { closeReason, isCloseCode } from '../../src/protocol/codes.ts'
import { encodeFrame, errorBody } from '../../src/protocol/encode.ts'
import { parseJson, readJson, tryWriteJson, writeJson } from '../../src/protocol/json.ts'
import { isChannel, userChannel, userRest } from '../../src/protocol/names.ts'

void t.test(
  'a frame that is no JSON object is fatal, a wrong one is not; the id is told where there is one',
  async (t) => {
    const error = (text: string | null): FrameError => {
      try {
        decode(text)
      } catch (error) {
        if (error instanceof FrameError) return error
        throw error
      }
      throw new Error(`taken: ${text}`)
    }
    for (const text of [null, '', '[]', 'null', '1', '{', '['.repeat(100_000), '{"a":'.repeat(100_000)]) {
      t.match(error(text), { code: 'bad_frame', fatal: true, id: undefined })
    }
    t.match(error('{"id":7}'), { code: 'unknown_type', fatal: false, id: 7 })
    t.match(error('{"type":"call","id":"a"}'), { code: 'invalid_input', fatal: false, id: 'a' })
    t.match(error('{"type":"ping","id":[]}'), { code: 'bad_frame', fatal: false, id: undefined })
  },
)

void t.test('a confirm names a channel and a cursor', async (t) => {
  const frame = { type: 'confirm', id: 1, channel: 'inbox:1', cursor: 'abc-1' }
  t.same(decode(JSON.stringify(frame)), frame)
  t.throws(() => decode(JSON.stringify({ ...frame, cursor: 1 })), { code: 'invalid_input', id: 1 })
  t.throws(() => decode(JSON.stringify({ ...frame, cursor: undefined })), { code: 'invalid_input', id: 1 })
  t.throws(() => decode(JSON.stringify({ ...frame, channel: 'inbox' })), { code: 'unknown_channel', id: 1 })
})

void t.test('what a client sent is never quoted at length, nor what V8 says of it', async (t) => {
  const secret = 'x'.repeat(1000)
  for (const text of [`{"type":"${secret}"}`, `{"token":"${secret}`])
    t.throws(() => decode(text), { message: /^.{1,200}$/ })
})

void t.test('names of channels', async (t) => {
  for (const good of ['a:b', 'Chat_1-x:general', 'a:A-Z.0_9:@=', `a:${'x'.repeat(200)}`])
    t.ok(isChannel(good), good)
  const bad = [
    '',
    ':',
    'a',
    'a:',
    ':b',
    '1a:b',
    'a:b c',
    'a:b\n',
    'a:ü',
    'a:b/c',
    'a:*',
    `a:${'x'.repeat(201)}`,
    null,
    ['a:b'],
  ]
  for (const name of bad) t.notOk(isChannel(name), JSON.stringify(name))
  t.equal(userRest('ada@example.org'), 'ada@example.org')
  t.equal(userRest('a=b ü'), 'a=3Db=20=C3=BC')
})

void t.test('a channel of nobody is no channel', async (t) => {
  t.equal(userChannel('orders', 'a b'), 'orders:a=20b')
  const row = JSON.parse('{"owner":null,"none":"","number":42}') as Record<string, string>
  for (const user of [row['owner'], row['missing'], row['none']]) {
    t.throws(() => userChannel('orders', user!), { name: 'TypeError', message: /orders/ })
  }
  t.equal(userChannel('orders', row['number']!), 'orders:42')
})

void t.test('frames are JSON whatever is in them', async (t) => {
  t.same(
    JSON.parse(
      encodeFrame({
        type: 'subscribed',
        id: '"\n',
        channel: 'a:b',
        cursor: null,
        recovered: false,
        messages: ['1', '2'],
      }),
    ),
    {
      type: 'subscribed',
      id: '"\n',
      channel: 'a:b',
      cursor: null,
      recovered: false,
      messages: [1, 2],
    },
  )
  t.same(JSON.parse(encodeFrame({ type: 'pong', id: -0 })), { type: 'pong', id: 0 })
  t.same(JSON.parse(encodeFrame({ type: 'pong', id: 1e-9 })), { type: 'pong', id: 1e-9 })
  t.same(
    JSON.parse(encodeFrame({ type: 'error', id: 1, code: 'conflict', message: '"', details: { a: 1 } })),
    {
      type: 'error',
      id: 1,
      code: 'conflict',
      message: '"',
      details: { a: 1 },
    },
  )
})

void t.test('details that JSON can not carry are left out of an error', async (t) => {
  const throwing = {
    toJSON: () => {
      throw new Error('secret')
    },
  }
  for (const details of [1n, throwing, undefined]) {
    t.same(JSON.parse(errorBody('conflict', 'taken', details)), { code: 'conflict', message: 'taken' })
  }
})

void t.test('JSON text is read as it is: on one line, its numbers untouched', async (t) => {
  t.same(parseJson('{"n":\r\n12345678901234567890}'), {
    text: '{"n": 12345678901234567890}',
    value: { n: 12345678901234567000 },
  })
  t.equal(parseJson('"a\\nb"')?.text, '"a\\nb"')
  t.equal(readJson(Buffer.from('"ü"'))?.value, 'ü')
  for (const bad of [
    Buffer.from([0x22, 0xff, 0x22]),
    Buffer.from(''),
    Buffer.from('{'),
    Buffer.from('\ufeff1'),
  ]) {
    t.equal(readJson(bad), null)
  }
  t.equal(writeJson(undefined), 'null')
  t.equal(tryWriteJson(1n), undefined)
  t.equal(tryWriteJson(JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))), undefined)
})

void t.test('close codes that a server may use, and reasons that fit', async (t) => {
  for (const code of [1000, 1001, 1011, 1012, 1013, 3000, 4405, 4999]) t.ok(isCloseCode(code), String(code))
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1000.5, NaN, '1000', null]) {
    t.notOk(isCloseCode(code), String(code))
  }
  t.equal(closeReason('too slow'), 'too slow')
  for (const text of ['x'.repeat(1000), 'ü'.repeat(100), '😀'.repeat(50), '水'.repeat(42)]) {
    const reason = closeReason(text)
    t.ok(Buffer.byteLength(reason) <= 123 && Buffer.byteLength(reason) > 118)
    t.ok(text.startsWith(reason))
    t.notMatch(reason, /[\ud800-\udbff]$/)
  }
  t.equal(closeReason(null), 'null')
})
