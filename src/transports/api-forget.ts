import type { Forgetting } from '../hub/forgetting.ts'
import { parseCursor } from '../journal/cursor.ts'
import { ClientError } from '../protocol/codes.ts'
import { isChannel } from '../protocol/names.ts'
import { type DoorDependencies, MAX_NAME, post } from './api-door.ts'
import { Body, invalid } from './fields.ts'
import type { Route } from './http.ts'

export interface ForgetDependencies extends DoorDependencies {
  readonly forgetting: Forgetting
  readonly journal: { readonly epoch: string }
}

/** Publications of one request. */
const MAX_IDS = 1000

/**
 * `POST /api/forget`: `{"channel"}` all of a channel, `{"channel","ids"}` some of its publications, `{"channel","key"}` a
 * key of a conflated one, `{"user","database"?}` all of a user's. Answers when no read gives it any more, but at the nodes
 * that it names. To be repeated where it failed: what is forgotten already is no error.
 */
export function forgetRoutes(deps: ForgetDependencies): Route[] {
  return [{ path: '/api/forget', methods: { POST: post(deps, (bytes) => forget(deps, bytes)) } }]
}

async function forget({ forgetting, journal }: ForgetDependencies, bytes: Buffer | null): Promise<string> {
  const body = new Body(bytes, ['channel', 'ids', 'key', 'user', 'database'])
  const channel = body.text('channel', MAX_NAME)
  const user = body.text('user', MAX_NAME)
  const database = body.text('database', MAX_NAME)
  const ids = body.value('ids')
  const key = body.value('key')
  if ((channel === undefined) === (user === undefined)) throw invalid('expected one of channel, user')
  if (user !== undefined) {
    if (ids !== undefined || key !== undefined) throw invalid('ids, key: only with channel')
    // No user's id has one, and some keys are told from others by it.
    if (/\p{Cc}/u.test(user)) throw invalid('user: a text with control characters is no user id')
    return JSON.stringify(await forgetting.user(user, database ?? null))
  }
  if (database !== undefined) throw invalid('database: only with user')
  if (ids !== undefined && key !== undefined) throw invalid('ids, key: only one of them')
  // Not only those of the config: what is to be forgotten may be of a subsystem that it had once.
  if (!isChannel(channel)) {
    throw new ClientError('unknown_channel', `'${channel!.slice(0, 80)}' is no channel: <subsystem>:<rest>`)
  }
  if (ids !== undefined) {
    if (journal.epoch === '') throw new ClientError('unavailable', 'the journal has not been reached yet')
    return JSON.stringify(await forgetting.publications(channel!, positionsOf(ids, journal.epoch)))
  }
  if (key !== undefined && typeof key !== 'string' && typeof key !== 'number') {
    throw invalid('key: expected a text or a number')
  }
  return JSON.stringify(await forgetting.channel(channel!, key ?? null))
}

function positionsOf(ids: unknown, epoch: string): readonly number[] {
  if (!Array.isArray(ids) || ids.length === 0) throw invalid('ids: expected a list of cursors')
  if (ids.length > MAX_IDS) throw invalid(`ids: at most ${MAX_IDS}`)
  const positions = new Set<number>()
  for (const [index, id] of (ids as readonly unknown[]).entries()) {
    const cursor = parseCursor(id)
    if (cursor === null) throw invalid(`ids[${index}]: expected a cursor, as the publication's id has it`)
    if (cursor.epoch !== epoch) {
      throw invalid(`ids[${index}]: of another epoch; ask the history for the publication's present id`)
    }
    positions.add(cursor.position)
  }
  return [...positions]
}
