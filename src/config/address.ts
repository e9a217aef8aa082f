import { isIP } from 'node:net'
import { ConfigError } from '../errors.ts'

/** Where to listen, as far as it was said. */
export interface Address {
  readonly host?: string
  readonly port?: number
}

/**
 * Reads `[interface:port]`: `8000`, `:8000`, `localhost`, `localhost:8000`, `[::1]:80`, `::1`; `0` stands for
 * all interfaces, as in `0:8000`.
 * @throws {ConfigError} USAGE
 */
export function parseAddress(text: string): Address {
  const trimmed = text.trim()
  if (/^\d+$/.test(trimmed)) return { port: port(trimmed, text) }
  if (isIP(trimmed) === 6) return { host: trimmed }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(trimmed) ?? []
  const host = bracketed ?? plain
  if (host === undefined || (host === '' && digits === undefined)) throw usage(text)
  if (bracketed !== undefined && isIP(bracketed) !== 6) throw usage(text)
  if (host !== '' && !isHost(normalizeHost(host))) throw usage(text)
  return {
    ...(host === '' ? {} : { host: normalizeHost(host) }),
    ...(digits === undefined ? {} : { port: port(digits, text) }),
  }
}

/** `0` and `*` stand for all interfaces. */
export function normalizeHost(host: string): string {
  return host === '0' || host === '*' ? '0.0.0.0' : host
}

/** Whether the text can be an interface's address or name. */
export function isHost(host: string): boolean {
  return (
    isIP(host) !== 0 || (/^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$/.test(host) && !/^[\d.]+$/.test(host))
  )
}

/** Whether only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function port(digits: string, text: string): number {
  if (!/^\d{1,5}$/.test(digits) || Number(digits) > 65_535) throw usage(text)
  return Number(digits)
}

function usage(text: string): ConfigError {
  return new ConfigError(
    [
      {
        code: 'USAGE',
        key: '[interface:port]',
        message: `expected an address such as 8000, :8000, 0:8000, localhost:8000 or [::1]:8000, with a port from 0 to 65535, got '${text}'`,
      },
    ],
    'the command line',
  )
}
