import t from 'tap'
import { grantsOf, isPattern, mayBy, mayPublish, maySubscribe, NO_GRANTS } from '../../src/auth/access.ts'
import type { User } from '../../src/registry/define.ts'

const ada: User = { id: '42' }
const odd: User = { id: 'ada lovelace/ß' }

t.test('policies say who may, and tell anonymous clients from those who may not', async (t) => {
  for (const [access, user, channel, decision] of [
    ['public', null, 'chat:general', 'yes'],
    ['authenticated', null, 'chat:general', 'unauthenticated'],
    ['authenticated', ada, 'chat:general', 'yes'],
    ['user', null, 'messages:42', 'unauthenticated'],
    ['user', ada, 'messages:42', 'yes'],
    ['user', ada, 'messages:43', 'forbidden'],
    ['user', ada, 'messages:42:x', 'forbidden'],
    ['user', ada, 'messages:4', 'forbidden'],
    ['user', odd, 'messages:ada=20lovelace=2F=C3=9F', 'yes'],
    ['none', null, 'chat:general', 'forbidden'],
    ['none', ada, 'chat:general', 'forbidden'],
    ['hook', null, 'chat:general', 'hook'],
  ] as const) {
    t.equal(mayBy(access, user, channel), decision, `${access} ${user?.id ?? 'anonymous'} ${channel}`)
  }
})

t.test("a user whose id looks like another's channel doesn't get it", async (t) => {
  t.equal(mayBy('user', { id: 'a=20b' }, 'messages:a=20b'), 'forbidden')
  t.equal(mayBy('user', { id: 'a b' }, 'messages:a=20b'), 'yes')
})

t.test("a token's patterns open what the policy keeps closed", async (t) => {
  const user: User = {
    id: '7',
    channels: { subscribe: ['messages:42', 'chat:*', 'docs:team-*:*.public'], publish: ['chat:lobby'] },
  }
  const grants = grantsOf(user)
  const subscribe = (channel: string) => maySubscribe({ access: 'none' }, user, grants, channel)
  for (const channel of [
    'messages:42',
    'chat:general',
    'chat:a:b',
    'docs:team-1:readme.public',
    'docs:team-::.public',
  ]) {
    t.equal(subscribe(channel), 'yes', channel)
  }
  for (const channel of [
    'messages:421',
    'messages:4',
    'chats:general',
    'docs:team-1.public',
    'docs:team-1:readme.publics',
    'docs:xteam-1:readme.public',
  ]) {
    t.equal(subscribe(channel), 'forbidden', channel)
  }
  t.equal(mayPublish({ publish: 'none' }, user, grants, 'chat:lobby'), 'yes')
  t.equal(
    mayPublish({ publish: 'none' }, user, grants, 'chat:general'),
    'forbidden',
    'to subscribe is not to publish',
  )
  t.equal(maySubscribe({ access: 'hook' }, user, grants, 'chat:general'), 'hook', 'the hook alone says')
})

t.test('`*` opens every channel; a user without patterns opens none', async (t) => {
  const all = grantsOf({ id: '7', channels: { subscribe: ['*'] } })
  t.ok(all.subscribe('any:thing'))
  t.notOk(all.publish('any:thing'))
  t.equal(grantsOf(ada), NO_GRANTS)
  t.equal(grantsOf(null), NO_GRANTS)
  t.equal(maySubscribe({ access: 'authenticated' }, null, NO_GRANTS, 'chat:general'), 'unauthenticated')
})

t.test('stars take as much or as little as fits', async (t) => {
  const opens = (pattern: string, channel: string) =>
    grantsOf({ id: '7', channels: { subscribe: [pattern] } }).subscribe(channel)
  for (const [pattern, channel, yes] of [
    ['a:ab*ab', 'a:abab', true],
    ['a:ab*ab', 'a:ab', false],
    ['a:ab*ba', 'a:aba', false],
    ['a:*a*b*', 'a:xxaxxbxx', true],
    ['a:*a*b*', 'a:xxbxxaxx', false],
    ['a:**', 'a:x', true],
    ['a:*b', 'a:bbb', true],
    ['a:x*yz*z', 'a:xyzz', true],
    ['a:x*yz*z', 'a:xyz', false],
  ] as const) {
    t.equal(opens(pattern, channel), yes, `${pattern} ${channel}`)
  }
})

t.test('a pattern made to be slow is not', async (t) => {
  const pattern = `a:${'a*'.repeat(99)}b`
  const grants = grantsOf({ id: '7', channels: { subscribe: [pattern] } })
  const began = performance.now()
  for (let index = 0; index < 1000; index++) grants.subscribe(`a:${'a'.repeat(200)}`)
  t.ok(performance.now() - began < 1000, 'less than a millisecond each')
})

t.test('a pattern names its subsystem in full', async (t) => {
  for (const pattern of ['*', 'chat:*', 'chat:general', 'chat:a*b']) t.ok(isPattern(pattern), pattern)
  for (const pattern of [
    '',
    'chat',
    '*:x',
    'ch*:x',
    'chat:',
    'chat:a b',
    'chat:a/b',
    '**',
    `c:${'x'.repeat(201)}`,
    5,
    null,
  ]) {
    t.notOk(isPattern(pattern), String(pattern))
  }
})
