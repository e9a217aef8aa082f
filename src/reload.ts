import { isDeepStrictEqual } from 'node:util'
import type { Config } from './config/config.ts'
import type { Client } from './hub/client.ts'
import type { Hub } from './hub/hub.ts'
import type { Subscriber } from './hub/subscriber.ts'
import { ClientError, isClientError } from './protocol/codes.ts'
import { unsubscribedFrame } from './protocol/encode.ts'

/** What is built once: a change needs a new process. */
const FROZEN = [
  'host',
  'port',
  'socket',
  'journal',
  'postgres',
  'broker',
  'listener',
  'compression',
  'pingMs',
  'pongMs',
  'dev',
  'log',
] as const satisfies readonly (keyof Config)[]

const FROZEN_LIMITS = ['frameBytes', 'windowBytes', 'connectionsPerAddress'] as const

/** The keys that differ and can't change while the daemon runs. */
export function frozenKeys(before: Config, after: Config): string[] {
  const keys: string[] = FROZEN.filter((key) => !isDeepStrictEqual(before[key], after[key]))
  for (const key of FROZEN_LIMITS) {
    if (before.limits[key] !== after.limits[key]) keys.push(`limits.${key}`)
  }
  return keys
}

/** Asks the present policies about every open subscription that one let in; ends those that are refused. */
export async function recheck(hub: Hub, subscriber: Subscriber): Promise<number> {
  let ended = 0
  for (const client of [...hub]) {
    for (const [channel, kind] of [...client.subscriptions]) {
      if (kind === 'server') continue
      const refusal = await refusalOf(client, channel, subscriber)
      if (refusal === null || !hub.leave(client, channel)) continue
      ended++
      client.send(unsubscribedFrame(channel, refusal.code, refusal.message))
    }
  }
  return ended
}

async function refusalOf(
  client: Client,
  channel: string,
  subscriber: Subscriber,
): Promise<ClientError | null> {
  try {
    const asked = subscriber.admit(client, channel)
    if (asked instanceof Promise) await asked
    return null
  } catch (error) {
    // Whatever kept the policy from saying yes: closed is the safe side.
    return isClientError(error) ? error : new ClientError('internal', 'the policy could not be asked')
  }
}
