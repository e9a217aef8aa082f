import type { Log } from '../ops/log.ts'
import type { Counts } from '../ops/counts.ts'
import { isClientError } from '../protocol/codes.ts'
import { writeJson } from '../protocol/json.ts'
import { isChannel } from '../protocol/names.ts'
import type { AckOptions, Emitted, EmitOptions, EmitTarget, Present } from '../registry/define.ts'
import type { Live } from '../rules.ts'
import type { Cluster } from './cluster.ts'
import { checkAckMs } from './events.ts'
import type { Presence } from './presence/presence.ts'

export interface EmitterDependencies {
  readonly live: Live
  readonly cluster: Pick<Cluster, 'emit' | 'ask' | 'presence'>
  readonly presence: Pick<Presence, 'isKept' | 'read'>
  readonly counts: Counts
  readonly log: Log
}

/** What modules say to clients of all nodes, and what they ask about them. */
export class Emitter {
  readonly #deps: EmitterDependencies

  constructor(deps: EmitterDependencies) {
    this.#deps = deps
  }

  /**
   * @throws {ClientError} unavailable
   * @throws {TypeError} for a target that is none, and where JSON can't carry the arguments
   */
  async emit(
    target: EmitTarget,
    event: string,
    args: readonly unknown[],
    { exclude, ack = false }: EmitOptions,
  ): Promise<Emitted> {
    const { cluster, live } = this.#deps
    checkTarget(target)
    checkEvent(event)
    const json = writeJson(args)
    const options = exclude === undefined ? {} : { exclude }
    if (ack === false) {
      const { count, missing } = await cluster.emit(target, event, json, options)
      return { count, answered: 0, acks: [], missing }
    }
    const { timeoutMs = live.rules.config.limits.ackMs }: AckOptions = ack === true ? {} : ack
    return cluster.ask(target, event, json, checkAckMs(timeoutMs), options)
  }

  /** To all but one. `args` is the JSON text of an array. Nobody waits for it. */
  broadcast(event: string, args: string, except: string): void {
    this.#deps.cluster.emit({ all: true }, event, args, { exclude: except }).catch((error: unknown) => {
      this.#deps.counts.error('bus', isClientError(error) ? error.code : 'internal')
      this.#deps.log.warn({ event, err: error }, 'a broadcast did not reach the other nodes')
    })
  }

  /** Where presence is kept it is known here; the other channels' subscribers are asked for. */
  async presence(channel: string): Promise<Present> {
    const { presence, cluster } = this.#deps
    checkTarget({ channel })
    if (presence.isKept(channel)) return JSON.parse(presence.read(channel)) as Present
    const { clients, count } = await cluster.presence(channel)
    return { clients, count }
  }
}

/** The longest name of an event; that of the server API. */
const MAX_EVENT = 128

function checkEvent(event: unknown): void {
  if (typeof event === 'string' && event !== '' && event.length <= MAX_EVENT) return
  throw new TypeError(`emit: expected an event's name of 1 to ${MAX_EVENT} characters, got ${typeof event}`)
}

/** A module's mistake, of which the client must not be told as if it were the client's: no ClientError. */
function checkTarget(target: EmitTarget): void {
  const { session, user, database, channel, all } = target as Readonly<Record<string, unknown>>
  const said = [session, user, channel, all].filter((part) => part !== undefined)
  const good = typeof session === 'string' || typeof user === 'string' || isChannel(channel) || all === true
  if (database !== undefined && (typeof database !== 'string' || typeof user !== 'string')) {
    throw new TypeError('emit: database goes with user, and names one of the config')
  }
  if (said.length === 1 && good) return
  throw new TypeError('emit: expected one of { session }, { user }, { channel }, { all: true }')
}
