import { RevocationTable } from '../auth/revocation-table.ts'
import type { Backbone } from '../backbone.ts'
import type { Hub } from '../hub/hub.ts'
import { Revoker } from '../hub/revoker.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import type { Live } from '../rules.ts'

/** Who ends sessions on all nodes, and has it written down where there is a database. */
export function createRevoker(
  { bus, pool }: Backbone,
  live: Live,
  hub: Hub,
  counts: Counts,
  log: Log,
): Revoker {
  return new Revoker({
    revocations: live.rules.revocations,
    table: pool === null ? null : new RevocationTable({ pool }),
    bus,
    hub,
    forget: (user, database) => live.rules.whoami?.forget(user, database),
    counts,
    log,
  })
}
