import type { Duration } from './units.ts'

export interface PostgresInput {
  /** `postgres://user:password@host:5432/database`. Left out: the embedded server. */
  url?: string
  /**
   * The URL for LISTEN where `url` leads to a pooler that doesn't carry it.
   * @default url
   */
  listenUrl?: string
  /** Asks for the embedded server where NODE_ENV=production. */
  embedded?: boolean
  /**
   * Where the embedded server keeps its data, relative to this file.
   * @default '.livemessages/postgres'
   */
  directory?: string
  /**
   * Connections that are kept open.
   * @default 1
   */
  minConnections?: number
  /** @default 20 */
  maxConnections?: number
  /**
   * Idle connections above the minimum close after this time.
   * @default '10s'
   */
  cleanupTimeout?: Duration
  /**
   * Databases of the same server; each has its own pool, its own LISTEN, and an outbox in place of a journal. The home
   * one, with the journal, is that of `url` whether it is named here or not; where `url` names none, the first of these.
   * The embedded server makes what it does not have.
   * @default []
   */
  databases?: string[]
  /**
   * What the journal's NOTIFYs carry: the publications themselves, or only where they are, for the nodes to read.
   * Any role of the database may LISTEN and NOTIFY: with `'positions'` nothing can be overheard or forged there, for
   * one query more a publication. It is kept in the database, for all nodes and for SQL.
   * @default as the database has it, which begins with 'data'
   */
  notify?: 'data' | 'positions'
}

export interface BrokerInput {
  /** `amqp://user:password@host:5672/vhost`, or `amqps:`. */
  url?: string
  /** A host with RabbitMQ's default port, user and password; `url` wins over it. */
  host?: string
  /**
   * The topic exchange; `<exchange>.dead` takes what can't be handled.
   * @default 'livemessages'
   */
  exchange?: string
  /**
   * Unacknowledged deliveries that a subsystem's queue may have at this node, 1 to 65,535.
   * @default 100
   */
  prefetch?: number
  /**
   * Attempts at one message before it is dead-lettered.
   * @default 5
   */
  maxAttempts?: number
}
