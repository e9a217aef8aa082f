import type { Migration } from '../migration.ts'
import { APPEND } from './0002/append.ts'
import { KEEP } from './0002/keep.ts'
import { PLACE } from './0002/place.ts'
import { PUBLISH } from './0002/publish.ts'
import { PUBLISH_ROW } from './0002/publish-row.ts'
import { RIGHTS } from './0002/rights.ts'
import { TABLES } from './0002/tables.ts'

/**
 * The journal. `publish` inserts into `pending`; at commit a deferred constraint trigger gives the position, under
 * the position lock, inserts into `journal` and notifies.
 *
 * The position lock is taken at the end of a transaction and held to its commit: whoever sees a position knows
 * that each lower one is visible or void. So that it can't be part of a deadlock, nothing waits for another lock
 * while it is held: row locks (the lease's) are taken before it, keys are only inserted, and the trigger lets the
 * application's own deferred constraints run first.
 */
export const journal: Migration = {
  version: 2,
  name: 'journal',
  sql: [TABLES, PUBLISH, PLACE, PUBLISH_ROW, APPEND, KEEP, RIGHTS].join(''),
}
