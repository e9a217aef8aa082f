import { pause } from '../backoff.ts'

/** Waits for it, but no longer than so. What it comes to is no concern here. */
export async function within(work: Promise<unknown>, ms: number): Promise<void> {
  const over = new AbortController()
  await Promise.race([Promise.allSettled([work]), pause(ms, over.signal)])
  over.abort()
}
