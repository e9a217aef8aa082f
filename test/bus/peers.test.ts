import t from 'tap'
import { Peers } from '../../src/bus/peers.ts'

t.test('a number that goes back counts where anybody may make one up', (t) => {
  const peers = new Peers(10, false)
  t.same(peers.hear('a', 5, 0), { came: true, missed: 0 })
  t.same(peers.hear('a', 900, 1), { came: false, missed: 894 })
  t.same(peers.hear('a', 6, 2), { came: false, missed: 0 })
  t.same(peers.hear('a', 7, 3), { came: false, missed: 0 })
  t.end()
})

t.test('sealed: what was said before does not count, whether its node is here, silent or gone', (t) => {
  const peers = new Peers(10, true)
  t.same(peers.hear('a', 5, 0), { came: true, missed: 0 })
  t.same(peers.hear('a', 7, 1), { came: false, missed: 1 })
  for (const number of [5, 6, 7]) t.equal(peers.hear('a', number, 2), null)
  t.same(peers.expire(2), ['a'], 'and is no sign of life')
  t.equal(peers.hear('a', 7, 3), null)
  t.same(peers.hear('a', 9, 4), { came: true, missed: 1 })
  t.equal(peers.leave('a'), true)
  t.equal(peers.hear('a', 9, 5), null)
  t.equal(peers.names.size, 0)
  t.end()
})
