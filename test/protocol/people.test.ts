import t from 'tap'
import { personOf, userKey } from '../../src/protocol/people.ts'

t.test('a key names one user of one database', async (t) => {
  const people = [
    { id: '42', database: null },
    { id: '42', database: 'shop' },
    { id: 'shop:42', database: null },
    { id: '__proto__', database: 'constructor' },
  ]
  for (const person of people) t.same(personOf(userKey(person)), person)
  t.equal(new Set(people.map(userKey)).size, people.length)
})

t.test('what is no id names nobody, and never a user of another database', async (t) => {
  const shopper = userKey({ id: '42', database: 'shop' })
  for (const id of [shopper, `\u001F${shopper}`, '\u001F42']) {
    t.not(userKey({ id }), shopper, JSON.stringify(id))
    t.not(personOf(userKey({ id })).database, 'shop')
    t.not(userKey({ id }), userKey({ id: '42' }))
  }
})
