import t from 'tap'
import { createAddresses } from '../../src/auth/addresses.ts'

t.test('an address has so many connections and no more, until one leaves', async (t) => {
  const addresses = createAddresses({ limit: 2, proxied: false })
  t.same(
    [1, 2, 3].map(() => addresses.enter('192.0.2.1')),
    [true, true, false],
  )
  t.ok(addresses.enter('192.0.2.2'), 'another address is another count')
  addresses.leave('192.0.2.1')
  t.ok(addresses.enter('192.0.2.1'))
  t.notOk(addresses.enter('192.0.2.1'), 'a refused one took nothing away')
})

t.test('nothing is kept of an address that has left', async (t) => {
  const addresses = createAddresses({ limit: 2, proxied: false })
  addresses.enter('192.0.2.1')
  addresses.enter('192.0.2.1')
  addresses.leave('192.0.2.1')
  addresses.leave('192.0.2.1')
  addresses.leave('192.0.2.1')
  t.equal(addresses.size, 0)
  t.ok(addresses.enter('192.0.2.1'), 'one leave too many gives no credit')
  t.ok(addresses.enter('192.0.2.1'))
  t.notOk(addresses.enter('192.0.2.1'))
})

t.test('a whole /64 counts as one address', async (t) => {
  const addresses = createAddresses({ limit: 1, proxied: false })
  t.ok(addresses.enter('2001:db8::1'))
  t.notOk(addresses.enter('2001:db8::ffff:2'))
  t.ok(addresses.enter('2001:db8:0:1::1'))
})

t.test('this machine and the unix socket are spared until proxies are named', async (t) => {
  const spared = createAddresses({ limit: 1, proxied: false })
  const counted = createAddresses({ limit: 1, proxied: true })
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1', '']) {
    t.same([spared.enter(address), spared.enter(address)], [true, true], address)
  }
  t.equal(spared.size, 0)
  for (const address of ['127.0.0.1', '::1', '']) {
    t.same([counted.enter(address), counted.enter(address)], [true, false], address)
  }
})
