import t from 'tap'
import { Stall } from '../../src/sources/stall.ts'
import { until } from '../support/wait.ts'

const make = (stallMs: number) => {
  const told: (string | null)[] = []
  return { told, stall: new Stall({ stallMs, onStall: (reason) => told.push(reason) }) }
}

void t.test('one that failed three times is told at once, and once more when it is done with', async (t) => {
  const { told, stall } = make(60_000)
  const watch = stall.watch()
  for (const reason of ['a', 'b']) watch.failed(reason)
  t.same(told, [])
  for (const reason of ['c', 'c', 'd']) watch.failed(reason)
  t.same(told, ['c', 'd'])
  watch.end()
  watch.end()
  watch.failed('too late')
  t.same(told, ['c', 'd', null])
})

void t.test('of several that are late the first tells why, and the end is the last one’s', async (t) => {
  const { told, stall } = make(20)
  const [first, second] = [stall.watch(), stall.watch()]
  second.placed()
  await until('told', () => told.length === 1)
  t.same(told, ['not handled within 20 ms'])
  first.end()
  t.same(told.at(-1), 'the journal has not taken it within 20 ms')
  second.end()
  t.same(told.at(-1), null)
})

void t.test('one that follows another is late in its own time', async (t) => {
  const { told, stall } = make(40)
  const first = stall.watch()
  await new Promise((resolve) => setTimeout(resolve, 25))
  const second = stall.watch()
  first.end()
  await new Promise((resolve) => setTimeout(resolve, 25))
  t.same(told, [])
  await until('told', () => told.length === 1)
  second.end()
})
