import t from 'tap'
import { canonicalAddress, createRanges, customerOf, isLoopback } from '../../src/auth/ip.ts'
import { ConfigError } from '../../src/errors.ts'

t.test('an address has one spelling', async (t) => {
  for (const [text, canonical] of [
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::FFFF:0a00:0001', '10.0.0.1'],
    ['0000:0000:0000:0000:0000:0000:0000:0001', '::1'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['', ''],
    ['010.0.0.1', ''],
    ['10.0.0.1.evil.example', ''],
    ['localhost', ''],
    ['::1]', ''],
  ] as const) {
    t.equal(canonicalAddress(text), canonical, text)
  }
})

t.test(
  'loopback is 127.0.0.0/8 and ::1 in every spelling, and nothing that only looks like it',
  async (t) => {
    for (const address of [
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '0:0:0:0:0:0:0:1',
    ]) {
      t.ok(isLoopback(address), address)
    }
    for (const address of [
      '',
      '128.0.0.1',
      '127.evil.example',
      '127.0.0.1.evil.example',
      '::2',
      '::127.0.0.1',
      '0.0.0.0',
    ]) {
      t.notOk(isLoopback(address), address)
    }
  },
)

t.test('ranges hold IPv4, IPv6 and IPv4 written as IPv6', async (t) => {
  const ranges = createRanges(
    ['10.1.2.3/8', '2001:db8::/32', '192.0.2.7', '::ffff:172.16.0.0/108', 'unix'],
    'list',
  )
  for (const address of [
    '10.0.0.1',
    '10.255.255.255',
    '::ffff:10.0.0.1',
    '2001:db8:ffff::1',
    '192.0.2.7',
    '172.31.0.1',
    '',
  ]) {
    t.ok(ranges.has(address), address)
  }
  for (const address of ['11.0.0.1', '2001:db9::1', '192.0.2.8', '172.32.0.1', 'rubbish', '::10.0.0.1']) {
    t.notOk(ranges.has(address), address)
  }
  t.notOk(createRanges(['10.0.0.0/8'], 'list').has(''), 'a unix socket is trusted only by name')
})

t.test('every range that is none is named at once', async (t) => {
  const list = [
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    'example.com',
    '10.0.0.0/8/8',
    'fe80::1%eth0',
    '::/129',
    '::1',
  ]
  try {
    createRanges(list, 'trustedProxies')
    t.fail('accepted')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    t.same(
      error.problems.map(({ key }) => key),
      [0, 1, 2, 3, 4, 5, 6].map((index) => `trustedProxies[${index}]`),
    )
  }
})

t.test('an IPv6 customer is its /64', async (t) => {
  t.equal(customerOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64')
  t.equal(customerOf('2001:db8:1:2::9'), '2001:db8:1:2::/64')
  t.equal(customerOf('2001:db8::9'), '2001:db8:0:0::/64')
  t.equal(customerOf('::9'), '0:0:0:0::/64')
  t.equal(customerOf('64:ff9b::192.0.2.1'), '64:ff9b:0:0::/64')
  t.equal(customerOf('1:2:3::'), '1:2:3:0::/64')
  t.equal(customerOf('192.0.2.1'), '192.0.2.1')
  t.equal(customerOf('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(customerOf('?'), '?')
})
