import t from 'tap'
import { Revocations, type Revoked } from '../../src/auth/revocations.ts'

const NOW = Date.now()
const ann: Revoked = { user: 'ann', database: null }

function revoked(who: Revoked, at = NOW, until = at + 60_000): Revocations {
  const revocations = new Revocations()
  t.equal(revocations.add({ who, at, until, reason: null }, NOW), true)
  return revocations
}

t.test('what was issued until then is refused, what was issued later is not', async (t) => {
  const revocations = revoked(ann)
  for (const [issued, refused] of [
    [NOW - 1000, true],
    [NOW, true],
    [NOW + 1000, false],
    [NOW + 5000, false],
    [NOW + 3_600_000, true],
  ] as const) {
    t.equal(revocations.refuses({ id: 'ann', issued }, NOW), refused, String(issued - NOW))
  }
  t.equal(revocations.refuses({ id: 'ann' }, NOW), true, 'who does not say when')
  t.equal(revocations.refuses({ id: 'bob' }, NOW), false)
  t.equal(revocations.refuses({ id: 'ann' }, NOW + 60_001), false, 'until its end')
})

t.test('a user of one database is not the one of another', async (t) => {
  const revocations = revoked({ user: '42', database: 'a' })
  t.equal(revocations.refuses({ id: '42', database: 'a' }), true)
  t.equal(revocations.refuses({ id: '42', database: 'b' }), false)
  t.equal(revocations.refuses({ id: '42' }), false)
})

t.test('one token alone', async (t) => {
  const revocations = revoked({ token: 'j1' })
  t.equal(revocations.refuses({ id: 'ann', token: 'j1', issued: NOW + 1000 }), true)
  t.equal(revocations.refuses({ id: 'ann', token: 'j2' }), false)
  t.equal(revocations.refuses({ id: 'j1' }), false)
})

t.test('the check tells why, and counts', async (t) => {
  const revocations = revoked(ann)
  t.throws(() => revocations.check({ id: 'ann' }), {
    code: 'unauthenticated',
    details: { reason: 'revoked' },
  })
  revocations.check({ id: 'bob' })
  t.equal(revocations.refused, 1)
  revocations.known = false
  t.throws(() => revocations.check({ id: 'bob' }), { code: 'unavailable' }, 'not read yet')
})

t.test('what the application says counts, if it was asked later', async (t) => {
  const revocations = revoked(ann)
  const [before, after] = [{ id: 'ann' }, { id: 'ann' }]
  revocations.vouch(before, NOW - 1)
  revocations.vouch(after, NOW + 1)
  t.equal(revocations.refuses(before), true)
  t.equal(revocations.refuses(after), false)
})

t.test('the later one counts; what is told twice is told once', async (t) => {
  const revocations = revoked(ann)
  t.equal(revocations.add({ who: ann, at: NOW, until: NOW + 60_000, reason: null }, NOW), false)
  t.equal(revocations.add({ who: ann, at: NOW - 5000, until: NOW + 10, reason: null }, NOW), false)
  t.match(revocations.get(ann), { at: NOW, until: NOW + 60_000 }, 'an older, shorter one changes nothing')
  t.equal(revocations.add({ who: ann, at: NOW + 1000, until: NOW + 10, reason: null }, NOW), true)
  t.match(revocations.get(ann), { at: NOW + 1000, until: NOW + 60_000 })
  t.equal(revocations.remove(ann, NOW), false, 'what takes back an earlier one leaves it')
  t.equal(revocations.remove(ann, NOW + 1000), true)
  t.equal(revocations.size, 0)
  t.equal(revocations.add({ who: ann, at: NOW, until: NOW, reason: null }, NOW), false, 'over already')
})

t.test('there are no more than there is room for, and those that are over make room', async (t) => {
  const revocations = new Revocations({ maxEntries: 2 })
  const add = (user: string, until: number, now: number): boolean =>
    revocations.add({ who: { user, database: null }, at: NOW, until, reason: null }, now)
  t.equal(add('a', NOW + 3_600_000, NOW), true)
  t.equal(revocations.full, false)
  t.equal(add('b', NOW + 3_600_000, NOW), true)
  t.equal(revocations.full, true)
  t.equal(add('c', NOW + 3_600_000, NOW), false)
  revocations.sweep(NOW + 3_600_001)
  t.equal(revocations.size, 0)
})
