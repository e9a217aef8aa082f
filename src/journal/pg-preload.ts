import { makeEntry } from './entry.ts'
import type { Entry, Retention } from './journal.ts'
import { isVoid } from './pg-void.ts'
import { type Look, PAGE_BYTES, PAGE_ROWS, type Store } from './pg-store.ts'

export interface Preload {
  readonly store: Store
  retention(): ReadonlyMap<string, Retention>
  now(): number
  readonly windowBytes: number
  readonly preloadMs: number
}

/**
 * The newest entries up to the head, as many as the window holds and time allows; oldest first. Above `base` it is all
 * that there is: it is read from the newest backwards, so that it may end anywhere.
 */
export async function preload(
  { store, retention, now, windowBytes, preloadMs }: Preload,
  { epoch, head, floor }: Look,
): Promise<{ entries: Entry[]; base: number; top: number }> {
  const oldest = now() - Math.max(0, ...[...retention().values()].map(({ maxAgeMs }) => maxAgeMs))
  const deadline = performance.now() + preloadMs
  const entries: Entry[] = []
  let bytes = 0
  let base = head
  let top = 0
  let more = true
  while (more && performance.now() < deadline) {
    const page = await store.before(base, PAGE_ROWS, PAGE_BYTES)
    for (const row of page.rows) {
      const { position, channel, time, data, exclude, mark } = row
      if (bytes > windowBytes || Number(time) < oldest) return done()
      const at = Number(position)
      top = Math.max(top, at)
      base = at - 1
      if (isVoid(row)) continue
      entries.push(makeEntry(epoch, at, channel, Number(time), data, exclude ?? undefined, mark ?? undefined))
      bytes += data.length
    }
    more = page.more
  }
  if (!more) base = 0
  return done()

  function done(): { entries: Entry[]; base: number; top: number } {
    // What is missing at or below the floor is gone, not void.
    return { entries: entries.toReversed(), base: Math.max(base, floor), top }
  }
}
