import path from 'node:path'
import type { BrokerConfig, EmbeddedConfig, PostgresConfig } from './config.ts'
import { withDatabase } from './databases.ts'
import { DEFAULTS } from './defaults.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'

/** Which database, if any: the one of `url`, or an embedded server. */
export function resolvePostgres(
  input: Parsed['postgres'],
  { root, production }: { readonly root: string; readonly production: boolean },
  report: Report,
): PostgresConfig | EmbeddedConfig | null {
  if (input === false) return null
  const { url, listenUrl, embedded, directory, databases = [], ...rest } = input ?? {}
  const common = {
    minConnections: rest.minConnections ?? DEFAULTS.postgres.minConnections,
    maxConnections: rest.maxConnections ?? DEFAULTS.postgres.maxConnections,
    cleanupTimeoutMs: rest.cleanupTimeout ?? DEFAULTS.postgres.cleanupTimeoutMs,
    notify: rest.notify ?? null,
  }
  if (common.minConnections > common.maxConnections) {
    report.problem(
      'postgres.minConnections',
      `expected at most maxConnections (${common.maxConnections}), got ${common.minConnections}`,
    )
  }
  if (url !== undefined) {
    if (embedded === true || directory !== undefined) {
      const key = embedded === true ? 'embedded' : 'directory'
      report.problem(
        `postgres.${key}`,
        'is for the embedded server, but url names another: leave one of them out',
      )
    }
    const [first] = databases
    const named = first === undefined ? url : withHome(url, first)
    const listen = listenUrl ?? named
    return {
      url: named,
      listenUrl: first === undefined ? listen : withHome(listen, first),
      databases,
      ...common,
    }
  }
  if (listenUrl !== undefined) report.problem('postgres.url', 'expected beside listenUrl, got nothing')
  if (embedded === false || (production && embedded !== true)) {
    report.problem(
      'postgres',
      `expected a database${production ? ' with NODE_ENV=production' : ''}, got none: set postgres.url (or LIVEMESSAGES_POSTGRES_URL), ` +
        "or ask for the embedded server with postgres: 'embedded', or go without by postgres: false",
    )
  }
  const place = path.resolve(root, directory ?? path.join('.livemessages', 'postgres'))
  return { directory: place, databases, ...common }
}

/** Of a URL that names no database the first of `databases` is home. */
function withHome(url: string, first: string): string {
  return new URL(url).pathname.length > 1 ? url : withDatabase(url, first)
}

/** The broker, where one is named; `url` wins over `host`. */
export function resolveBroker(input: Parsed['broker'], report: Report): BrokerConfig | null {
  if (input === undefined || input === false) return null
  const { url, host, ...rest } = input
  if (url === undefined && host === undefined) {
    report.problem('broker', 'expected url or host, got neither (broker: false goes without)')
    return null
  }
  if (url !== undefined && host !== undefined)
    report.warning('broker.host is not used: broker.url wins over it')
  return {
    url: url ?? `amqp://${host?.includes(':') ? `[${host}]` : host}`,
    exchange: rest.exchange ?? DEFAULTS.broker.exchange,
    prefetch: rest.prefetch ?? DEFAULTS.broker.prefetch,
    maxAttempts: rest.maxAttempts ?? DEFAULTS.broker.maxAttempts,
  }
}
