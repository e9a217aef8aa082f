import type { DatabaseNames } from '../config/config.ts'
import { ClientError } from '../protocol/codes.ts'
import { writeJson } from '../protocol/json.ts'
import { inDatabase, isChannel } from '../protocol/names.ts'
import type { Services } from '../registry/context.ts'
import type { LoadedSender } from '../registry/registry.ts'
import type { BaseContext } from '../registry/define.ts'
import { runHook, withPath } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import { Hopeless } from '../sources/source.ts'
import type { MaybePromise, Notification, Taken } from '../sources/source.ts'
import { policyOf } from './policies.ts'
import type { Publisher, Submission } from './publisher.ts'

export interface IntakeDependencies {
  readonly live: Live
  readonly publisher: Publisher
  readonly services: Services
}

/** Turns what sources hear into publications: at once what names a channel, by its sender what does not. */
export class Intake {
  readonly #deps: IntakeDependencies

  constructor(deps: IntakeDependencies) {
    this.#deps = deps
  }

  /**
   * Returns nothing when the publications are where they belong; a `Taken` while the journal is at it.
   * @throws {ClientError} `unavailable` in an outage, `internal` and `timeout` where the sender failed or hung: the
   *   next attempt may do. Any other: it can never be handled.
   */
  take(notification: Notification): MaybePromise<Taken | void> {
    if (notification.channel === undefined) return this.#send(notification)
    const json = notification.json ?? writeJson(notification.data)
    const channel = this.#completed(notification.channel, notification.database)
    return takenOf(this.#deps.publisher.publish(submissionOf(notification, channel, json)))
  }

  #send(notification: Notification): MaybePromise<Taken | void> {
    const { rules } = this.#deps.live
    const sender = rules.registry.senders.get(notification.subsystem ?? '')
    if (sender === undefined) {
      throw new ClientError(
        'unknown_channel',
        `no sender for '${notification.subsystem ?? notification.name}': ` +
          `name one as ACTIONS.${notification.subsystem ?? '<subsystem>'}.sender`,
      )
    }
    const database = databaseOf(notification, rules.config.databases)
    deepFreeze(notification.headers)
    const frozen = Object.freeze({
      ...notification,
      ...(database === null ? {} : { database }),
      data: deepFreeze(notification.data),
    })
    return this.#runSender(sender, frozen, rules.config.limits.callMs)
  }

  async #runSender(
    sender: LoadedSender,
    notification: Notification,
    deadlineMs: number,
  ): Promise<Taken | void> {
    const { services } = this.#deps
    const { database = null } = notification
    const { path } = sender
    const named = withPath(`${sender.subsystem}.sender`, path)
    const call = { place: `${sender.subsystem}.sender`, path, connection: null, database, deadlineMs }
    const ran = async <T>(hook: (run: BaseContext) => MaybePromise<T>): Promise<T> => {
      try {
        return await runHook(call, services, hook)
      } catch (error) {
        throw orHopeless(error, named)
      }
    }
    const routed = await ran((run) => sender.route(notification, run))
    if (routed === null || routed === undefined) return undefined
    if (typeof routed !== 'string' && !Array.isArray(routed)) {
      throw new ClientError('internal', `${named}: route answered neither a channel nor a list of them`)
    }
    const channels = typeof routed === 'string' ? [routed] : routed
    if (channels.length === 0) return undefined
    const format = sender.format ?? null
    const data = format === null ? notification.data : await ran((run) => format(notification, run))
    const json = data === notification.data ? (notification.json ?? writeJson(data)) : jsonOf(data, named)
    const submissions = channels.map((channel, index) => {
      const submission = submissionOf(notification, this.#completed(channel, notification.database), json)
      // One mark stands for the notification, however many publications come of it.
      return index === 0 ? submission : { ...submission, mark: undefined }
    })
    return takenOf(this.#deps.publisher.publishAll(submissions))
  }

  /** What comes from a database, or of a sender, leaves it out of the channels of a subsystem that runs per database. */
  #completed(channel: string, database: string | undefined): string {
    if (database === undefined || !isChannel(channel)) return channel
    return policyOf(this.#deps.live, channel)?.databases === undefined
      ? channel
      : inDatabase(channel, database)
  }
}

/**
 * The database that a sender works for: the one that was heard, the one that a message's header `database` names, or the
 * home one.
 * @throws {ClientError} invalid_input
 */
function databaseOf(
  { source, database, headers }: Notification,
  { home, further }: DatabaseNames,
): string | null {
  if (database !== undefined) return database
  const named: unknown = source === 'amqp' ? headers?.['database'] : undefined
  if (named === undefined) return home
  if (typeof named === 'string' && (named === home || further.includes(named))) return named
  throw new ClientError(
    'invalid_input',
    `header database: expected a database of the config, got ${(JSON.stringify(named) ?? '').slice(0, 80)}`,
  )
}

/**
 * A sender that changes its notification does so each time: it is not tried again. The engine says so of everything that
 * is frozen, and of nothing else.
 */
function orHopeless(error: unknown, place: string): unknown {
  const cause = error instanceof Error ? error.cause : undefined
  if (!(cause instanceof TypeError) || !FROZEN.test(cause.message)) return error
  return new Hopeless(`${place} changed its notification, which is frozen: copy what it is to change`, cause)
}

const FROZEN = /read only property|object is not extensible|^Cannot (?:delete|redefine) property/

/** @throws {Hopeless} where JSON can't carry what `format` answered */
function jsonOf(data: unknown, place: string): string {
  try {
    return writeJson(data)
  } catch (error) {
    throw new Hopeless(`${place}: what format answered can't be JSON`, error)
  }
}

function submissionOf(notification: Notification, channel: string, json: string): Submission {
  const { source, key, mark, lease, patience, everywhere } = notification
  return { channel, json, source, key, mark, lease, patience, everywhere }
}

function takenOf(result: MaybePromise<unknown>): Taken | undefined {
  return result instanceof Promise ? { kept: result.then(() => undefined) } : undefined
}

/** Not by recursion: what a source heard may be nested as deeply as it likes. */
function deepFreeze(value: unknown): unknown {
  const left = [value]
  while (left.length > 0) {
    const next = left.pop()
    // Bytes can't be frozen: AMQP headers may hold some.
    if (typeof next !== 'object' || next === null || ArrayBuffer.isView(next) || Object.isFrozen(next))
      continue
    Object.freeze(next)
    for (const key of Object.keys(next)) left.push((next as Record<string, unknown>)[key])
  }
  return value
}
