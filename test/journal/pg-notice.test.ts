import t from 'tap'
import type { Draft } from '../../src/journal/journal.ts'
import { decodeNotice, packBodies, readLines } from '../../src/journal/pg-notice.ts'

t.test('what is packed is read again, whatever its attributes', (t) => {
  const drafts: Draft[] = [
    { channel: 'chat:a', json: '1' },
    { channel: 'chat:b', json: '{"text":"!a ~b  c"}', exclude: 'session1' },
    { channel: 'chat:c', json: '"ü😀"', mark: 'm:1' },
    { channel: 'chat:d', json: '[ ]', exclude: 's', mark: 'm' },
  ]
  const { bodies, counts } = packBodies(drafts, true)
  t.same(counts, [4])
  const payload = `7 4 1700000000000 -5\n${bodies[0]!}`
  const notice = decodeNotice(payload)!
  t.match(notice, { first: 7, count: 4, time: 1_700_000_000_000, tag: '-5' })
  const entries = readLines(payload, notice, 'e')!
  t.same(
    entries.map(({ position, channel, exclude, mark, message }) => ({
      position,
      channel,
      exclude,
      mark,
      data: (JSON.parse(message) as { data: unknown }).data,
    })),
    drafts.map(({ channel, json, exclude, mark }, index) => ({
      position: 7 + index,
      channel,
      exclude,
      mark,
      data: JSON.parse(json) as unknown,
    })),
  )
  t.end()
})

t.test('bodies hold as many as fit; what fits into none is counted where it stands', (t) => {
  const large = { channel: 'chat:a', json: JSON.stringify('ü'.repeat(4000)) }
  const small = { channel: 'chat:a', json: JSON.stringify('x'.repeat(2000)) }
  const { bodies, counts } = packBodies([small, small, large, large, small, small, small, small, large], true)
  t.same(counts, [2, 2, 3, 1, 1])
  t.same(
    bodies.map((body) => (body === '' ? 0 : body.split('\n').length)),
    [2, 0, 3, 1, 0],
  )
  t.ok(bodies.every((body) => Buffer.byteLength(body) <= 7900))
  t.same(packBodies([small, large], false), { bodies: [''], counts: [2] })
  t.end()
})

t.test('a payload that says something else than it has is none', (t) => {
  for (const payload of [
    '',
    ' ',
    '\n',
    '1 1 1',
    '1 1 1 ',
    'a 1 1 1',
    '1 0 1 1',
    '0 1 1 1',
    '1.5 1 1 1',
    '1\n1 1 1',
  ]) {
    t.equal(decodeNotice(payload), null, JSON.stringify(payload))
  }
  t.equal(decodeNotice('1 1 1 1')!.lines, -1)
  t.equal(decodeNotice('1 1 1 1\n')!.lines, -1)
  for (const lines of [
    'chat:a',
    'chat:a ',
    'chat 1',
    ' 1',
    'chat:a" 1',
    'chat:a !x',
    'chat:a ~x',
    'chat:a 1\n',
    'chat:a 1\nchat:a 2',
    '\nchat:a 1',
  ]) {
    const payload = `1 1 1 1\n${lines}`
    const notice = decodeNotice(payload)!
    const entries = readLines(payload, notice, 'e')
    if (lines === 'chat:a 1\n') t.equal(entries!.length, 1, 'a line break at the end')
    else t.equal(entries, null, JSON.stringify(lines))
  }
  t.equal(readLines('1 2 1 1\nchat:a 1', decodeNotice('1 2 1 1\nchat:a 1')!, 'e'), null)
  t.end()
})
