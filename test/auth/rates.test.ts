import t from 'tap'
import { Bucket, createRate, type RateOptions } from '../../src/auth/rates.ts'

/** A bucket that knows its rate. */
function createBucket(options: RateOptions): { take(now: number): boolean } {
  const rate = createRate(options)
  const bucket = new Bucket()
  return { take: (now) => bucket.take(now, rate) }
}

/** How many of many are let through at one moment. */
function drain(bucket: { take(now: number): boolean }, now: number, attempts = 1000): number {
  let taken = 0
  for (let index = 0; index < attempts; index++) if (bucket.take(now)) taken++
  return taken
}

t.test('a burst goes through, then what comes in by the second', async (t) => {
  const start = 1_700_000_000_000 // a Date.now: the fractions of its doubles are coarse
  for (const [perSecond, burst] of [
    [10, 5],
    [3, 100],
    [7, 1],
    [300, 333],
    [0.1, 3],
  ] as const) {
    const bucket = createBucket({ perSecond, burst })
    t.equal(drain(bucket, start), burst, `burst ${burst}`)
    t.equal(drain(bucket, start + 0.5 * (1000 / perSecond)), 0, 'half an interval gives nothing')
    t.equal(drain(bucket, start + 1.05 * (1000 / perSecond)), 1, 'one interval gives one')
    t.equal(drain(bucket, start + 1e9), burst, 'it saves up no more than the burst')
  }
})

t.test('sums of fractions cost no token of the burst', async (t) => {
  for (const perSecond of [3, 7, 11, 19]) {
    for (const burst of [10, 20, 50]) t.equal(drain(createBucket({ perSecond, burst }), 0), burst)
  }
})

t.test('steady use below the rate is never refused, above it the rate goes through', async (t) => {
  const bucket = createBucket({ perSecond: 10, burst: 2 })
  for (let now = 0; now < 100_000; now += 100) if (!bucket.take(now)) t.fail(`refused at ${now}`)
  let taken = 0
  for (let now = 200_000; now < 300_000; now += 7) if (bucket.take(now)) taken++
  t.ok(taken >= 1000 && taken <= 1003, `${taken} in 100 s at 10 a second`)
})

t.test('a clock that is set back locks nobody out', async (t) => {
  const bucket = createBucket({ perSecond: 1, burst: 3 })
  t.equal(drain(bucket, 3_600_000), 3)
  t.ok(bucket.take(0))
})

t.test('buckets of one rate are apart', async (t) => {
  const rate = createRate({ perSecond: 1, burst: 1 })
  const [one, other] = [new Bucket(), new Bucket()]
  t.same([one.take(0, rate), one.take(0, rate), other.take(0, rate)], [true, false, true])
})

t.test('another rate counts at once, for a bucket that has been used too', async (t) => {
  const [slow, fast] = [createRate({ perSecond: 1, burst: 1 }), createRate({ perSecond: 100, burst: 50 })]
  const bucket = new Bucket()
  t.same([bucket.take(0, slow), bucket.take(0, slow)], [true, false])
  t.same([bucket.take(0, fast), bucket.take(0, fast)], [true, true])
  const used = new Bucket()
  for (let index = 0; index < 60; index++) used.take(0, fast)
  t.same([used.take(0, fast), used.take(1, slow), used.take(600, slow)], [false, false, true])
})

t.test('without a limit everything goes through; impossible rates are refused', async (t) => {
  t.equal(drain(createBucket({ perSecond: Infinity, burst: 1 }), 5), 1000)
  t.throws(() => createBucket({ perSecond: 0, burst: 1 }), RangeError)
  t.throws(() => createBucket({ perSecond: NaN, burst: 1 }), RangeError)
  t.throws(() => createBucket({ perSecond: 1, burst: 0 }), RangeError)
})
