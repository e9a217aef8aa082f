import { parseDuration } from '../config/units.ts'
import type { Cluster, Person, Target } from '../hub/cluster.ts'
import { furtherOf } from '../hub/database-names.ts'
import { MAX_ACK_MS } from '../hub/events.ts'
import type { History } from '../hub/history.ts'
import type { Presence } from '../hub/presence/presence.ts'
import type { Submission } from '../hub/publisher.ts'
import { CLOSE, ClientError, isCloseCode } from '../protocol/codes.ts'
import { isChannel, subsystemOf } from '../protocol/names.ts'
import type { MaybePromise } from '../sources/source.ts'
import { type Caller, type DoorDependencies, get, MAX_CHANNELS, MAX_KEY, MAX_NAME, post } from './api-door.ts'
import { Body, invalid, Query } from './fields.ts'
import type { Route } from './http.ts'

export interface ApiDependencies extends DoorDependencies {
  readonly cluster: Cluster
  /** Where it is kept, this node knows who is there, on all nodes. */
  readonly presence: Pick<Presence, 'isKept' | 'read'>
  readonly history: History
  /** Publishes all or none. */
  publishAll(submissions: readonly Submission[]): MaybePromise<readonly (string | null)[]>
}

const MAX_EVENT = 128
const MAX_REASON = 123
/** What is listed at the most, and where nothing is said. */
const MAX_LISTED = 1000
const LISTED = 100

/** The fields that say whom an event goes to; one of them. */
const TARGETS = ['session', 'user', 'database', 'channel', 'all']

/** The server API: what an application asks of all nodes together. `/api/publish` is the HTTP source's. */
export function apiRoutes(deps: ApiDependencies): Route[] {
  const api = new Api(deps)
  return [
    {
      path: '/api/broadcast',
      methods: { POST: post(deps, (bytes, caller) => api.broadcast(bytes, caller)) },
    },
    { path: '/api/emit', methods: { POST: post(deps, (bytes) => api.emit(bytes)) } },
    { path: '/api/disconnect', methods: { POST: post(deps, (bytes) => api.disconnect(bytes)) } },
    { path: '/api/connections', methods: { GET: get(deps, (query) => api.connections(query)) } },
    { path: '/api/channels', methods: { GET: get(deps, (query) => api.channels(query)) } },
    { path: '/api/presence', methods: { GET: get(deps, (query) => api.presence(query)) } },
    { path: '/api/history', methods: { GET: get(deps, (query) => api.history(query)) } },
    { path: '/api/stats', methods: { GET: get(deps, (query) => api.stats(query)) } },
  ]
}

/** Each takes what came and answers with JSON text. */
class Api {
  readonly #deps: ApiDependencies

  constructor(deps: ApiDependencies) {
    this.#deps = deps
  }

  async broadcast(bytes: Buffer | null, caller: Caller): Promise<string> {
    const body = new Body(bytes, ['channels', 'data', 'key', 'exclude'])
    const channels = this.#channels(body.value('channels'))
    const json = body.json('data')
    if (json === undefined) throw invalid('data: is missing')
    const name = caller.key === '' ? body.text('key', MAX_KEY) : caller.key
    const exclude = body.text('exclude', MAX_NAME)
    const key = name === undefined ? undefined : `${caller.publisher} ${name}`
    const ids = await this.#deps.publishAll(
      channels.map((channel) => ({ channel, json, source: 'http', key, exclude })),
    )
    return JSON.stringify({
      published: channels.map((channel, index) => ({ channel, id: ids[index] ?? null })),
    })
  }

  async emit(bytes: Buffer | null): Promise<string> {
    const body = new Body(bytes, [...TARGETS, 'event', 'args', 'exclude', 'ack', 'timeout'])
    const target = this.#target(body)
    const event = body.text('event', MAX_EVENT)
    if (event === undefined) throw invalid('event: is missing')
    const args = body.value('args')
    if (args !== undefined && !Array.isArray(args)) throw invalid('args: expected a list')
    const exclude = body.text('exclude', MAX_NAME)
    const options = exclude === undefined ? {} : { exclude }
    const text = args === undefined ? '[]' : (body.json('args') ?? '[]')
    const { cluster } = this.#deps
    const timeoutMs = this.#ackMs(body)
    if (timeoutMs === null) return JSON.stringify(await cluster.emit(target, event, text, options))
    return JSON.stringify(await cluster.ask(target, event, text, timeoutMs, options))
  }

  async disconnect(bytes: Buffer | null): Promise<string> {
    const body = new Body(bytes, ['session', 'user', 'database', 'reason', 'code'])
    const person = this.#personOf(body)
    const reason = body.text('reason', MAX_REASON)
    const code = body.value('code') ?? CLOSE.disconnected
    if (!isCloseCode(code)) {
      throw invalid('code: expected a close code: 1000, 1001, 1008, 1011 to 1013, 3000 to 4999')
    }
    return JSON.stringify(await this.#deps.cluster.disconnect(person, reason, code as number))
  }

  async connections(text: string): Promise<string> {
    const query = new Query(text, ['session', 'user', 'database', 'channel', 'limit'])
    const session = query.text('session', MAX_NAME)
    const user = query.text('user', MAX_NAME)
    const channel = query.text('channel', MAX_NAME)
    if (channel !== undefined) this.#checkChannel(channel)
    const database = this.#databaseOf(query, user)
    const filter = {
      ...(session === undefined ? {} : { session }),
      ...(user === undefined ? {} : { user }),
      ...(database === undefined ? {} : { database }),
      ...(channel === undefined ? {} : { channel }),
    }
    const limit = query.count('limit', MAX_LISTED) ?? LISTED
    return JSON.stringify(await this.#deps.cluster.connections(filter, limit))
  }

  async channels(text: string): Promise<string> {
    const query = new Query(text, ['prefix', 'limit'])
    const limit = query.count('limit', MAX_LISTED) ?? LISTED
    return JSON.stringify(await this.#deps.cluster.channels(query.text('prefix', MAX_NAME), limit))
  }

  async presence(text: string): Promise<string> {
    const query = new Query(text, ['channel', 'limit'])
    const limit = query.count('limit', MAX_LISTED) ?? LISTED
    const channel = this.#channelOf(query)
    const { presence, cluster } = this.#deps
    if (!presence.isKept(channel)) return JSON.stringify(await cluster.presence(channel, limit))
    return `${presence.read(channel, limit).slice(0, -1)},"missing":[]}`
  }

  history(text: string): MaybePromise<string> {
    const query = new Query(text, ['channel', 'since', 'last', 'limit'])
    const channel = this.#channelOf(query)
    const since = query.text('since', MAX_NAME)
    const last = query.count('last', MAX_LISTED)
    const limit = query.count('limit', MAX_LISTED)
    if (since !== undefined && last !== undefined) throw invalid('since, last: only one of them')
    return this.#deps.history.read(channel, {
      ...(since === undefined ? {} : { since }),
      ...(last === undefined ? {} : { last }),
      ...(limit === undefined ? {} : { limit }),
    })
  }

  async stats(text: string): Promise<string> {
    new Query(text, [])
    return JSON.stringify(await this.#deps.cluster.stats())
  }

  /** How long the clients' answers are waited for; null where they are not. */
  #ackMs(body: Body): number | null {
    const ack = body.value('ack') ?? false
    if (typeof ack !== 'boolean') throw invalid('ack: expected true or false')
    const timeout = body.value('timeout')
    if (timeout === undefined) return ack ? this.#deps.live.rules.config.limits.ackMs : null
    const ms = parseDuration(timeout)
    if (!ack) throw invalid('timeout: only with ack')
    if (ms === null || ms <= 0 || ms > MAX_ACK_MS) {
      throw invalid("timeout: expected a duration such as '5s' or milliseconds, more than 0 up to an hour")
    }
    return ms
  }

  #target(body: Body): Target {
    const all = body.value('all')
    const channel = body.text('channel', MAX_NAME)
    const others = ['session', 'user'].filter((name) => body.value(name) !== undefined)
    if (all !== undefined && typeof all !== 'boolean') throw invalid('all: expected true')
    const count = others.length + (channel === undefined ? 0 : 1) + (all === true ? 1 : 0)
    if (count !== 1) throw invalid('expected one of session, user, channel, all')
    if (all === true) {
      this.#databaseOf(body, undefined)
      return { all: true }
    }
    if (channel === undefined) return this.#personOf(body)
    this.#databaseOf(body, undefined)
    this.#checkChannel(channel)
    return { channel }
  }

  #channels(value: unknown): readonly string[] {
    if (!Array.isArray(value) || value.length === 0) throw invalid('channels: expected a list of channels')
    if (value.length > MAX_CHANNELS) throw invalid(`channels: at most ${MAX_CHANNELS}`)
    const channels = new Set<string>()
    for (const channel of value as readonly unknown[]) {
      if (typeof channel !== 'string') throw invalid('channels: expected texts')
      this.#checkChannel(channel)
      channels.add(channel)
    }
    return [...channels]
  }

  #channelOf(query: Query): string {
    const channel = query.text('channel', MAX_NAME)
    if (channel === undefined) throw invalid('channel: is missing')
    this.#checkChannel(channel)
    return channel
  }

  #personOf(body: Body): Person {
    const session = body.text('session', MAX_NAME)
    const user = body.text('user', MAX_NAME)
    const database = this.#databaseOf(body, user)
    if (session !== undefined && user === undefined) return { session }
    if (user !== undefined && session === undefined) {
      return database === undefined ? { user } : { user, database }
    }
    throw invalid('expected one of session, user')
  }

  /** Whose user it is; left out: the home database's. */
  #databaseOf(fields: Body | Query, user: string | undefined): string | undefined {
    const database = fields.text('database', MAX_NAME)
    if (database === undefined) return undefined
    if (user === undefined) throw invalid('database: only with user')
    return furtherOf(this.#deps.live.rules.config.databases, database) ?? undefined
  }

  #checkChannel(channel: string): void {
    const shown = channel.slice(0, 80)
    if (!isChannel(channel)) {
      throw new ClientError('unknown_channel', `'${shown}' is no channel: <subsystem>:<rest>`)
    }
    if (!this.#deps.live.rules.config.channels.has(subsystemOf(channel))) {
      throw new ClientError('unknown_channel', `no subsystem '${subsystemOf(channel)}'`)
    }
  }
}
