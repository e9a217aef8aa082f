import t from 'tap'
import { batchOf, compact, type Entry, type Op } from '../../src/signals/batch.ts'

const entry = (session: string, noted = false): Entry =>
  ({ client: { session }, letIn: true, noted, hooks: null }) as unknown as Entry
const row = (body: string) => ({ target: 'app', body })

void t.test('a batch says of each connection how it stands at its end, and tells all in order', async (t) => {
  const [a, b] = [entry('a'), entry('b')]
  const batch = batchOf(3, [
    { rows: [row('1')], entry: a },
    { rows: [row('2')], move: { channel: 'x', up: true } },
    { rows: [row('3')], entry: b },
    { rows: [row('4'), row('5')], entry: a, ends: true },
    { rows: [], move: { channel: 'x', up: false } },
  ])
  t.match(batch, { number: 3, gone: ['a'], kept: [b], moves: [{ up: true }, { up: false }] })
  t.same(
    batch.rows.map(({ body, move }) => [body, move]),
    [
      ['1', null],
      ['2', 1],
      ['3', null],
      ['4', null],
      ['5', null],
    ],
  )
})

void t.test('what nothing is told of any more takes as much room as it matters', async (t) => {
  const ops: Op[] = []
  const stays = entry('stays')
  const known = entry('known', true)
  ops.push({ rows: [], entry: stays }, { rows: [], entry: known, ends: true })
  for (let n = 0; n < 1000; n++) {
    const guest = entry(`guest ${n}`)
    ops.push({ rows: [], entry: guest }, { rows: [], entry: guest, ends: true }, { rows: [], entry: stays })
    ops.push({ rows: [], move: { channel: 'x', up: true } }, { rows: [], move: { channel: 'x', up: false } })
  }
  ops.push({ rows: [], move: { channel: 'x', up: true } }, { rows: [row('last')] })
  const less = compact(ops)
  t.same(
    less.map(({ entry: who, ends, move, rows }) => who?.client.session ?? move ?? rows[0]?.body ?? ends),
    ['known', { channel: 'x', up: true }, 'stays', 'last'],
  )
  t.same(batchOf(1, less).gone, ['known'])
})
