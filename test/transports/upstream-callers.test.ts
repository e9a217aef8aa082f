import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Callers } from '../../src/transports/upstream/callers.ts'
import { Suspects } from '../../src/transports/upstream/suspects.ts'

t.test('callers are remembered within bounds, the busy ones for longer than the quiet', async (t) => {
  const callers = new Callers({ proxied: () => true, maxCallers: 100, idleMs: 60_000 })
  const busy = callers.allowanceOf('busy', '')
  for (let n = 0; n < 1000; n++) {
    callers.allowanceOf(null, `192.0.${n >> 8}.${n & 255}`)
    t.equal(callers.allowanceOf('busy', ''), busy)
  }
  t.equal(callers.size, 100)
  t.equal(
    callers.allowanceOf(null, '2001:db8::1'),
    callers.allowanceOf(null, '2001:db8::2'),
    'one /64 is one',
  )
  t.not(callers.allowanceOf('192.0.2.1', ''), callers.allowanceOf(null, '192.0.2.1'), 'a user is no address')
})

t.test('who is quiet is forgotten, but not while its call is under way', async (t) => {
  const callers = new Callers({ proxied: () => true, idleMs: 1 })
  const calling = callers.allowanceOf('calling', '')
  calling.pendingCalls++
  await sleep(5)
  t.equal(callers.allowanceOf('calling', ''), calling)
  await sleep(5)
  callers.allowanceOf('another', '')
  t.equal(callers.size, 2)
  calling.pendingCalls--
  await sleep(5)
  callers.allowanceOf('a third', '')
  t.equal(callers.size, 1)
})

t.test('without trusted proxies a loopback peer may be everyone', async (t) => {
  const callers = new Callers({ proxied: () => false })
  t.not(callers.allowanceOf(null, '127.0.0.1'), callers.allowanceOf(null, '127.0.0.1'))
  t.equal(callers.allowanceOf(null, '192.0.2.1'), callers.allowanceOf(null, '192.0.2.1'))
  t.equal(callers.size, 1)
})

t.test('wrong secrets are counted for a while, of so many addresses', async (t) => {
  const suspects = new Suspects({ proxied: () => true, most: 2, windowMs: 30, maxAddresses: 10 })
  suspects.add('192.0.2.1')
  t.doesNotThrow(() => suspects.check('192.0.2.1'))
  suspects.add('192.0.2.1')
  t.throws(() => suspects.check('192.0.2.1'), { code: 'rate_limited' })
  t.doesNotThrow(() => suspects.check('192.0.2.2'))
  await sleep(40)
  t.doesNotThrow(() => suspects.check('192.0.2.1'), 'it may try again')
  suspects.add('192.0.2.1')
  suspects.add('192.0.2.1')
  for (let n = 0; n < 10; n++) suspects.add(`198.51.100.${n}`)
  t.doesNotThrow(() => suspects.check('192.0.2.1'), 'the oldest go first')
})

t.test(
  'without trusted proxies nobody is suspected for what others do behind a proxy on this machine',
  async (t) => {
    const suspects = new Suspects({ proxied: () => false, most: 1 })
    for (const address of ['127.0.0.1', '::1', '', '192.0.2.1']) suspects.add(address)
    for (const address of ['127.0.0.1', '::1', '']) t.doesNotThrow(() => suspects.check(address), address)
    t.throws(() => suspects.check('192.0.2.1'), { code: 'rate_limited' })
  },
)
