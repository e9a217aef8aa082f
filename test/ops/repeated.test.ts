import t from 'tap'
import { Repeated } from '../../src/ops/repeated.ts'

t.test('the first is said, and what follows within its time is counted for the next', async (t) => {
  const repeated = new Repeated(100)
  t.equal(repeated.count('a', 0), 0)
  t.equal(repeated.count('a', 1), null)
  t.equal(repeated.count('b', 1), 0, 'another thing is said at once')
  t.equal(repeated.count('a', 99), null)
  t.equal(repeated.count('a', 100), 2)
  t.equal(repeated.count('a', 250), 0)
})
