import type { Reading } from '../ops/metrics.ts'
import type { Live } from '../rules.ts'
import type { WhoamiCounts } from './whoami.ts'

/** What is measured of finding out who clients are. */
export function authReadings(live: Live): Reading[] {
  const total = (name: string, help: string, read: () => number): Reading => ({
    name,
    help,
    kind: 'total',
    read,
  })
  const asked = (count: keyof WhoamiCounts) => () => live.rules.whoami?.counts[count] ?? 0
  const { revocations } = live.rules
  return [
    total(
      'livemessages_whoami_questions_total',
      'Questions to the application who a user is',
      asked('asked'),
    ),
    total(
      'livemessages_whoami_shared_total',
      'Those that an earlier answer or question served',
      asked('shared'),
    ),
    total(
      'livemessages_whoami_failures_total',
      'Questions that had no answer, or rubbish for one',
      asked('failed'),
    ),
    total(
      'livemessages_revoked_total',
      'Users and tokens refused because they are revoked',
      () => revocations.refused,
    ),
    total(
      'livemessages_stray_user_headers_total',
      'Requests with the header auth.header from nobody who may name a user',
      () => revocations.strayHeaders,
    ),
    {
      name: 'livemessages_revocations',
      help: 'Revocations that hold',
      kind: 'gauge',
      aggregator: 'max',
      read: () => revocations.size,
    },
  ]
}
