import type { Backbone } from '../backbone.ts'
import { Mailboxes } from '../hub/mailboxes.ts'
import type { Log } from '../ops/log.ts'
import type { Live } from '../rules.ts'

/** What each user has confirmed; null without a database that keeps it. */
export function createMailboxes({ pool }: Backbone, live: Live, log: Log): Mailboxes | null {
  if (pool === null) return null
  return new Mailboxes({
    query: (text, values, abort) => pool.withSignal(abort).query(text, values),
    patienceMs: () => live.rules.config.limits.publishMs,
    log,
  })
}
