import type { Config } from '../config/config.ts'
import { formatAddress } from '../listeners/address.ts'

/** Where the running daemon is: as said, as the config says, or at the default. Without a slash at its end. */
export function daemonUrl(said: string | undefined, config: Config | null): string {
  if (said !== undefined) return said.replace(/\/+$/, '')
  if (config === null) return 'http://127.0.0.1:7777'
  const host = ANY.has(config.host) ? '127.0.0.1' : config.host
  return `http://${formatAddress({ host, port: config.port })}`
}

const ANY: ReadonlySet<string> = new Set(['0.0.0.0', '::', '0', ''])
