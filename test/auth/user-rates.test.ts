import t from 'tap'
import { createRate } from '../../src/auth/rates.ts'
import { UserRates } from '../../src/auth/user-rates.ts'

const rate = createRate({ perSecond: 10, burst: 20 })

t.test('each user has one bucket, and users of different databases are different users', async (t) => {
  const rates = new UserRates()
  const take = (user: { id: string; database?: string }, times: number, now = 0): number =>
    Array.from({ length: times }, () => rates.take(user, now, rate)).filter(Boolean).length
  t.equal(take({ id: '42' }, 50), 20)
  t.equal(take({ id: '43' }, 50), 20)
  t.equal(take({ id: '42', database: 'b' }, 50), 20)
  t.equal(take({ id: '42' }, 50, 1000), 10)
})

t.test(
  'those that have been quiet are forgotten: a million users that come and go leave little',
  async (t) => {
    const rates = new UserRates()
    for (let index = 0; index < 1_000_000; index++) rates.take({ id: `u${index}` }, index, rate)
    t.ok(rates.size <= 2000, `${rates.size} are left`)
    for (let index = 0; index < 20; index++) rates.take({ id: 'busy' }, 2_000_000, rate)
    for (let index = 0; index < 5000; index++) rates.take({ id: `v${index}` }, 2_000_000, rate)
    t.equal(rates.take({ id: 'busy' }, 2_000_000, rate), false, 'who owes something is not')
  },
)
