import type { Config } from '../config/config.ts'
import { formatAddress } from '../listeners/address.ts'
import { usage } from './options.ts'

/** Where the running daemon is. */
export interface DaemonPlace {
  /** `http://host:port`, without a slash at its end; a mere name where `socket` is set. */
  readonly url: string
  /** The unix socket that it listens on. */
  readonly socket: string | null
}

/** As said, as the config says, or at the default. */
export function daemonPlace(said: string | undefined, config: Config | null): DaemonPlace {
  if (said !== undefined) {
    const url = /^\w+:\/\//.test(said) ? said : `http://${said}`
    if (!URL.canParse(url) || !/^https?:/.test(url))
      throw usage(`--url: expected http://host:port, got: ${said}`)
    return { url: url.replace(/\/+$/, ''), socket: null }
  }
  if (config === null) return { url: 'http://127.0.0.1:7777', socket: null }
  if (config.socket !== null) return { url: 'http://localhost', socket: config.socket }
  if (config.port === 0) throw usage("the config has port 0: say where the daemon listens with '--url'")
  const host = ANY.get(config.host) ?? config.host
  return { url: `http://${formatAddress({ host, port: config.port })}`, socket: null }
}

/** As people read it. */
export function formatPlace({ url, socket }: DaemonPlace): string {
  return socket ?? url
}

const ANY: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
])
