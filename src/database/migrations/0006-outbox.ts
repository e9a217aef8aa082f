import type { Migration } from '../migration.ts'
import { MOVE } from './0006/move.ts'
import { PUBLISH } from './0006/publish.ts'
import { SUBSYSTEMS } from './0006/subsystems.ts'

/**
 * Publications of other databases on their way home. A database knows its own name, and whether it is home: where it is
 * not, what has a history goes into `outbox`, from where the leader moves it.
 *
 * The way home is not made longer: `publish`, `enqueue` and `publish_row` stay as they are. Their fast path takes what is
 * no larger than the subsystem's `most_bytes`, which is -1 where another look is needed: all of them end in
 * `publish_other` then.
 */
export const outbox: Migration = {
  version: 6,
  name: 'outbox',
  sql: [SUBSYSTEMS, PUBLISH, MOVE].join(''),
}
