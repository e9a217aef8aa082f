import { ClientError } from '../protocol/codes.ts'
import { writeJson } from '../protocol/json.ts'
import type { Services } from '../registry/context.ts'
import type { LoadedSender } from '../registry/registry.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import type { MaybePromise, Notification, Taken } from '../sources/source.ts'
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
    return takenOf(this.#deps.publisher.publish(submissionOf(notification, notification.channel, json)))
  }

  #send(notification: Notification): MaybePromise<Taken | void> {
    const { rules } = this.#deps.live
    const sender = rules.registry.senders.get(notification.subsystem ?? '')
    if (sender === undefined) {
      throw new ClientError(
        'unknown_channel',
        `no sender for '${notification.subsystem ?? notification.name}'`,
      )
    }
    const frozen = Object.freeze({ ...notification, data: deepFreeze(notification.data) })
    return this.#runSender(sender, frozen, rules.config.limits.callMs)
  }

  async #runSender(
    sender: LoadedSender,
    notification: Notification,
    deadlineMs: number,
  ): Promise<Taken | void> {
    const { services } = this.#deps
    const call = { place: `${sender.subsystem}.sender`, connection: null, deadlineMs }
    const routed = await runHook(call, services, (run) => sender.route(notification, run))
    if (routed === null || routed === undefined) return undefined
    if (typeof routed !== 'string' && !Array.isArray(routed)) {
      throw new ClientError('internal', `${call.place}: route answered neither a channel nor a list of them`)
    }
    const channels = typeof routed === 'string' ? [routed] : routed
    if (channels.length === 0) return undefined
    const format = sender.format ?? null
    const data =
      format === null ? notification.data : await runHook(call, services, (run) => format(notification, run))
    const json = data === notification.data ? (notification.json ?? writeJson(data)) : writeJson(data)
    const submissions = channels.map((channel, index) => {
      const submission = submissionOf(notification, channel, json)
      // One mark stands for the notification, however many publications come of it.
      return index === 0 ? submission : { ...submission, mark: undefined }
    })
    return takenOf(this.#deps.publisher.publishAll(submissions))
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
    if (typeof next !== 'object' || next === null || Object.isFrozen(next)) continue
    Object.freeze(next)
    for (const key of Object.keys(next)) left.push((next as Record<string, unknown>)[key])
  }
  return value
}
