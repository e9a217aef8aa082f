import type { Config, DatabaseNames, EmbeddedConfig, PostgresConfig } from './config.ts'
import { isEmbedded } from './config.ts'

/** The database of the embedded server that is home. */
export const EMBEDDED_HOME = 'livemessages'

/** All that a URL leaves out is for the client's library to find; this name is what it takes for the database. */
const UNNAMED = 'postgres'

/** The databases of a config by name; the home one is never among the further ones. */
export function databaseNames(postgres: PostgresConfig | EmbeddedConfig | null): DatabaseNames {
  if (postgres === null) return { home: null, further: [] }
  const home = isEmbedded(postgres) ? EMBEDDED_HOME : databaseOf(postgres.url)
  return { home, further: postgres.databases.filter((name) => name !== home) }
}

/** The database that a URL leads to. */
export function databaseOf(url: string): string {
  const { pathname, username } = new URL(url)
  return decodeURIComponent(pathname.slice(1)) || decodeURIComponent(username) || UNNAMED
}

/** The same server's other database. */
export function withDatabase(url: string, database: string): string {
  const other = new URL(url)
  other.pathname = `/${encodeURIComponent(database)}`
  return other.href
}

/** Whether a channel can hold the name as a part of its own: a colon would leave open where it ends. */
export function isChannelPart(database: string): boolean {
  return /^[A-Za-z0-9_.@-]+$/.test(database)
}

/** The config with its databases named anew, after `postgres` was replaced by the one that is kept. */
export function renameDatabases(config: Config): Config {
  const databases = databaseNames(config.postgres)
  const channels = [...config.channels].map(
    ([name, policy]) => [name, policy.databases === undefined ? policy : { ...policy, databases }] as const,
  )
  return { ...config, databases, channels: new Map(channels) }
}
