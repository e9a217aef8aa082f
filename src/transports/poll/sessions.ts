import type { Client } from '../../hub/client.ts'
import type { Hub } from '../../hub/hub.ts'
import type { Link } from '../../hub/link.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import { isClientError } from '../../protocol/codes.ts'
import { invalid } from '../fields.ts'
import { checkUrl } from '../handshake.ts'
import type { PollRequest } from './request.ts'
import type { Poller } from './poller.ts'

/** What names the clients whose sessions span requests. */
export interface SessionSecrets {
  /** The secret that the client has to show from now on. */
  issue(client: Client): string
  /** @throws {ClientError} for a session that is not known here, and for a secret that is not its */
  find(pass: { readonly session: string; readonly secret: string }): Client
}

export interface PollSessionsDependencies {
  readonly hub: Pick<Hub, 'isJournaled'>
  readonly subscriber: Pick<Subscriber, 'subscribeAll' | 'resume'>
  /** Left out: there are no sessions that span requests. */
  readonly sessions?: SessionSecrets
}

/** What clients of polling have from one request to the next. */
export class PollSessions {
  readonly #deps: PollSessionsDependencies

  constructor(deps: PollSessionsDependencies) {
    this.#deps = deps
  }

  /** The link of the session that the request is for; null where it is for none, or not for one of this node. */
  find({ session }: PollRequest): Link | null {
    const { sessions } = this.#deps
    if (session === null) return null
    if (sessions === undefined) throw invalid('session: there are none here')
    if (session.id === null) return null
    try {
      return sessions.find({ session: session.id, secret: session.secret }).link
    } catch (error) {
      // Over, another node's, or not its secret: it gets a new one.
      if (isClientError(error)) return null
      throw error
    }
  }

  /** The session's name and secret, at its first answer. What an earlier session held for the client is gone. */
  introduce(poller: Poller): string {
    const { hub, sessions } = this.#deps
    if (poller.wanted.session === null || poller.introduced || sessions === undefined) return ''
    poller.introduced = true
    const { client } = poller
    if (poller.replaces) poller.link.lose(client.channels.filter((channel) => !hub.isJournaled(channel)))
    return `,"session":"${client.session}","secret":${JSON.stringify(sessions.issue(client))}`
  }

  /** Modules may have subscribed a client to more than it asked for: it missed something there too. */
  async catchUpServed(poller: Poller, since: string | null): Promise<void> {
    const { client } = poller
    const { hub, subscriber } = this.#deps
    const here = [...poller.served].filter((channel) => client.isRecovering(channel))
    for (const [channel, kind] of client.subscriptions) {
      if (kind === 'server' && hub.isJournaled(channel)) here.push(channel)
    }
    if (here.length > 0) poller.served = new Set(here)
    if (since !== null && here.length > 0) await subscriber.resume(client, here, since)
  }

  /**
   * Brings what is not here already: channels that are new, and what an answer held that did not reach the client.
   * @throws {ClientError} as subscribing does
   */
  async goOn(poller: Poller): Promise<void> {
    const { client, link, wanted, cursor } = poller
    const { hub, subscriber } = this.#deps
    const added = wanted.channels.filter((channel) => !isOn(client, channel))
    const since = wanted.since ?? cursor
    if (!poller.behind && added.length === 0 && since === cursor) return
    const range = since === null ? {} : { since }
    checkUrl({ credentials: null, channels: added, range })
    poller.opened = false
    // Until it has been brought.
    poller.behind = true
    // Those that are being recovered now are taken over.
    const channels = new Set([
      ...added,
      ...client.recovering.filter((channel) => !poller.served.has(channel)),
    ])
    for (const [channel, kind] of client.subscriptions) {
      if (kind === 'policy' && hub.isJournaled(channel)) channels.add(channel)
    }
    link.restart()
    await subscriber.subscribeAll(client, [...channels], range)
    await this.catchUpServed(poller, since)
  }
}

function isOn(client: Client, channel: string): boolean {
  return client.subscriptions.has(channel) || client.isRecovering(channel)
}
