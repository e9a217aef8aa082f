import type { MaybePromise, Notification, Taken } from '../sources/source.ts'
import { NAME } from '../protocol/names.ts'
import { type Caller, type DoorDependencies, MAX_KEY, MAX_NAME, post } from './api-door.ts'
import { Body, invalid } from './fields.ts'
import type { Route } from './http.ts'

export interface NotifyDependencies extends DoorDependencies {
  /** Hands a notification to its subsystem's sender. */
  take(notification: Notification): MaybePromise<Taken | void>
}

/**
 * `POST /api/notify` `{"subsystem","data","key"?}`: what a NOTIFY or a queue's message would say to a subsystem's sender.
 * Answers when what came of it is where it belongs. There are no dead letters: its publisher is told.
 */
export function notifyRoutes(deps: NotifyDependencies): Route[] {
  return [
    { path: '/api/notify', methods: { POST: post(deps, (bytes, caller) => notify(deps, bytes, caller)) } },
  ]
}

async function notify({ take }: NotifyDependencies, bytes: Buffer | null, caller: Caller): Promise<string> {
  const body = new Body(bytes, ['subsystem', 'data', 'key'])
  const subsystem = body.text('subsystem', MAX_NAME)
  if (subsystem === undefined) throw invalid('subsystem: is missing')
  if (!NAME.test(subsystem)) throw invalid('subsystem: expected a letter, then up to 63 of A-Z a-z 0-9 _ -')
  const json = body.json('data')
  if (json === undefined) throw invalid('data: is missing')
  const key = caller.key === '' ? body.text('key', MAX_KEY) : caller.key
  const taken = await take({
    source: 'http',
    name: '/api/notify',
    subsystem,
    data: body.value('data') ?? null,
    json,
    ...(key === undefined ? {} : { key: `${caller.publisher} ${key}` }),
  })
  await taken?.kept
  return '{}'
}
