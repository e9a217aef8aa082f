import t from 'tap'
import { Repeated } from '../../src/ops/repeated.ts'

t.test('so many are said within the time; the next one says how many were not', async (t) => {
  const repeated = new Repeated(2, 100)
  t.equal(repeated.count('a', 0), 0)
  t.equal(repeated.count('a', 1), 0)
  t.equal(repeated.count('a', 2), null)
  t.equal(repeated.count('b', 2), 0, 'another kind is said')
  t.equal(repeated.count('a', 99), null)
  t.equal(repeated.count('a', 100), 2)
  t.equal(repeated.count('a', 101), 0)
  t.equal(repeated.count('a', 250), 0)
})
