import { userKey } from '../protocol/people.ts'
import type { ConnectionFilter, User } from '../registry/define.ts'
import type { Live } from '../rules.ts'
import type { Client } from './client.ts'

/** Whose the clients of this node are. */
export class Users {
  readonly #live: Live
  /** By `userKey`. */
  readonly #clients = new Map<string, Set<Client>>()

  constructor(live: Live) {
    this.#live = live
  }

  add(client: Client, user: User): void {
    const key = userKey(user)
    const tabs = this.#clients.get(key)
    if (tabs === undefined) this.#clients.set(key, new Set([client]))
    else tabs.add(client)
  }

  delete(client: Client): void {
    const key = client.userKey
    if (key === null) return
    const tabs = this.#clients.get(key)
    tabs?.delete(client)
    if (tabs?.size === 0) this.#clients.delete(key)
  }

  /** @param database @default the home one */
  of(user: string, database?: string | null): readonly Client[] {
    return [...(this.#clients.get(userKey({ id: user, database: this.#furtherOf(database) })) ?? [])]
  }

  isOf(client: Client, user: string, database?: string | null): boolean {
    return client.user === user && client.database === this.#furtherOf(database)
  }

  /** Of `some`, or of the user's where one is named and no channel, those that are meant. */
  filter(by: ConnectionFilter, some: Iterable<Client>): readonly Client[] {
    const { user, database, channel, transport } = by
    const further = this.#furtherOf(database)
    // A user is somebody of one database; all others are meant wherever they are, where nothing is said.
    const anywhere = database === undefined && typeof user !== 'string'
    const among = channel === undefined && typeof user === 'string' ? this.of(user, database) : some
    return [...among].filter(
      (client) =>
        (user === undefined || client.user === user) &&
        (anywhere || client.database === further) &&
        (transport === undefined || client.transport === transport),
    )
  }

  /** Null for the home database, by its name too. */
  #furtherOf(database: string | null | undefined): string | null {
    const { home } = this.#live.rules.config.databases
    return database === undefined || database === home ? null : database
  }
}
