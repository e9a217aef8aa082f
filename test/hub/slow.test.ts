import t from 'tap'
import type { Client } from '../../src/hub/client.ts'
import { SlowGuard } from '../../src/hub/slow.ts'

const SOFT = 1000
const HARD = 16_000

/** uWS holds at most 32 publications below 16 KiB back for a socket: this much of the distance. */
const HELD_BACK = 500

/** A link of the worst kind: the reader takes nothing, and what is published is held back as long as may be. */
class Stalled {
  open = true
  /** On a conflated channel, and not set aside from it. */
  conflated = false
  buffered = 0
  pending = 0
  dropped = 0
  readonly link = { bufferedBytes: 0 }

  /** As uWS does it: a frame is dropped when more than the hard limit waits already. */
  #put(bytes: number): void {
    if (!this.open) return
    if (this.buffered > HARD) this.dropped++
    else this.buffered += bytes
    this.link.bufferedBytes = this.buffered
  }

  send(bytes: number): void {
    this.#put(bytes)
  }

  publish(bytes: number): void {
    if (!this.open) return
    if (this.pending + bytes > HELD_BACK) this.turn()
    if (bytes > HELD_BACK / 32) this.#put(bytes)
    else this.pending += bytes
  }

  turn(): void {
    if (this.pending > 0) this.#put(this.pending)
    this.pending = 0
  }
}

function guarded(): { stalled: Stalled; guard: SlowGuard } {
  const stalled = new Stalled()
  const guard = new SlowGuard({
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the guard looks at
    clients: () => [stalled as unknown as Client],
    close: () => {
      stalled.open = false
    },
    setAside: () => {
      const { conflated } = stalled
      stalled.conflated = false
      return conflated
    },
    softBytes: SOFT,
    hardBytes: HARD,
  })
  return { stalled, guard }
}

void t.test(
  'slow guard: nothing is dropped before it has looked, wherever turns end and whatever the sizes',
  async (t) => {
    let seed = 7
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
    for (let trial = 0; trial < 5000; trial++) {
      const { stalled, guard } = guarded()
      // What waits already, just under what would be too much.
      stalled.send(random(SOFT))
      const largest = 1 + random(2400)
      for (let step = 0; step < 300 && stalled.open; step++) {
        const units = 1 + random(largest)
        // A UTF-16 unit is at most three bytes.
        const bytes = units * (1 + random(3))
        guard.count(units)
        if (random(2) === 0) stalled.publish(bytes)
        else stalled.send(bytes)
        if (random(1 + random(50)) === 0) stalled.turn()
      }
      stalled.turn()
      if (stalled.dropped > 0) t.fail(`trial ${trial}: dropped`)
      if (stalled.open && stalled.buffered > HARD) t.fail(`trial ${trial}: over the hard limit and open`)
    }
  },
)

void t.test(
  'slow guard: who can be set aside is, and then closed only for what else comes; nothing is dropped either',
  async (t) => {
    let seed = 11
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
    let aside = 0
    let closed = 0
    for (let trial = 0; trial < 5000; trial++) {
      const { stalled, guard } = guarded()
      stalled.conflated = true
      stalled.send(random(SOFT / 2))
      // Conflated alone, or with other traffic after it was set aside.
      const mixed = random(2) === 0
      const largest = 1 + random(500)
      for (let step = 0; step < 400 && stalled.open; step++) {
        const units = 1 + random(largest)
        const bytes = units * (1 + random(3))
        const wasOn = stalled.conflated
        guard.count(units)
        // Its conflated topics go past who was set aside.
        if (stalled.conflated || (mixed && step % 3 === 0)) stalled.publish(bytes)
        else if (mixed && step % 7 === 0) stalled.send(bytes)
        if (wasOn && !stalled.conflated) aside++
        if (random(1 + random(50)) === 0) stalled.turn()
      }
      stalled.turn()
      if (stalled.dropped > 0) t.fail(`trial ${trial}: dropped`)
      if (stalled.open && stalled.buffered > HARD) t.fail(`trial ${trial}: over the hard limit and open`)
      if (!stalled.open) closed++
      if (!stalled.open && !mixed) t.fail(`trial ${trial}: closed for what is conflated`)
    }
    t.ok(aside > 1000 && closed > 500, `${aside} were set aside, ${closed} closed`)
  },
)

void t.test('slow guard: who was set aside and let back is as all others', async (t) => {
  const { stalled, guard } = guarded()
  stalled.conflated = true
  stalled.send(SOFT * 3)
  guard.count(3000)
  guard.count(3000)
  t.equal(stalled.conflated, false)
  t.equal(stalled.open, true)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the guard looks at
  guard.release(stalled as unknown as Client)
  guard.count(3000)
  guard.count(3000)
  t.equal(stalled.open, false)
})

void t.test('slow guard: one frame that is larger than all its room is followed by a look', async (t) => {
  const { stalled, guard } = guarded()
  guard.count(20_000)
  stalled.publish(20_000)
  stalled.turn()
  guard.count(1)
  t.equal(stalled.open, false, 'closed before the next frame could be dropped')
})

void t.test(
  'slow guard: looks twice a second where anything was sent, and not where nothing was',
  async (t) => {
    let looks = 0
    const guard = new SlowGuard({
      clients: () => {
        looks++
        return []
      },
      close: () => undefined,
      softBytes: SOFT,
      hardBytes: HARD,
      sweepMs: 5,
    })
    guard.start()
    t.teardown(() => guard.stop())
    const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30))
    await pause()
    t.equal(looks, 0)
    guard.count(1)
    await pause()
    t.equal(looks, 1)
  },
)
