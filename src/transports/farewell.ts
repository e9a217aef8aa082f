import type { Client } from '../hub/client.ts'
import type { Hub } from '../hub/hub.ts'
import { CLOSE } from '../protocol/codes.ts'

/** Why a daemon ends. */
export type StopReason = 'restart' | 'shutdown'

/** How long what was sent last may take to leave before the connections are ended. */
export const FLUSH_MS = 100

/**
 * Tells clients when to come back, spread so that they don't all come at once, and closes them. Gives the code that they
 * are closed with.
 */
export function sayFarewell(hub: Pick<Hub, 'close'>, clients: readonly Client[], reason: StopReason): number {
  const spreadMs = Math.min(MAX_SPREAD_MS, MIN_SPREAD_MS + clients.length)
  const code = reason === 'restart' ? CLOSE.restarting : CLOSE.goingAway
  for (const client of clients) {
    client.send({ type: 'reconnect', afterMs: Math.floor(Math.random() * spreadMs), reason })
    hub.close(client, code, reason)
  }
  return code
}

/** Resolves when nobody is left, or the time is over. */
export async function emptied(size: () => number, deadlineMs: number): Promise<void> {
  const end = performance.now() + deadlineMs
  while (size() > 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, CHECK_MS))
  }
}

/** Over how long a time clients are asked to come back: a second, and a millisecond more for each of them. */
const MIN_SPREAD_MS = 1000
const MAX_SPREAD_MS = 30_000

const CHECK_MS = 5
