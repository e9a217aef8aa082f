import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'

/** Which pages may connect. */
export interface Origins {
  /**
   * @param origin the header `Origin`; empty (no browser) is allowed
   * @param host the header `Host`, whose own pages are allowed
   */
  allows(origin: string, host: string): boolean
}

/** Scheme, host without brackets taken off, port with its colon. */
const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/((?:\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/

/**
 * The list's entries: `https://app.example`, with a port where it isn't the scheme's own;
 * `https://*.app.example` for every subdomain, not for `app.example` itself; `null` for pages without an
 * origin (sandboxed frames, files); `*` for all pages but those.
 * @throws {ConfigError} naming every entry that is none of these
 */
export function createOrigins(list: readonly string[]): Origins {
  const exact = new Set<string>()
  const wildcards: { readonly start: string; readonly end: string }[] = []
  const problems: Problem[] = []
  for (const [index, entry] of list.entries()) {
    if (entry === '*' || entry === 'null') {
      exact.add(entry)
      continue
    }
    const parsed = parse(entry.toLowerCase().replace(/\/$/, ''))
    if (parsed === null) {
      problems.push({
        code: 'CONFIG_INVALID',
        key: `origins[${index}]`,
        message: `expected an origin such as 'https://app.example' or 'https://*.app.example' (no path), '*' or 'null'; got '${entry}'`,
      })
    } else if (parsed.host.startsWith('*.')) {
      wildcards.push({ start: `${parsed.scheme}://`, end: `${parsed.host.slice(1)}${parsed.port}` })
    } else exact.add(`${parsed.scheme}://${parsed.host}${parsed.port}`)
  }
  if (problems.length > 0) throw new ConfigError(problems, null)

  const decide = (origin: string, host: string): boolean => {
    if (origin === 'null') return exact.has('null')
    if (exact.has('*')) return true
    const parsed = parse(origin)
    if (parsed === null || parsed.host.startsWith('*')) return false
    if (isOwn(parsed, host)) return true
    const text = `${parsed.scheme}://${parsed.host}${parsed.port}`
    if (exact.has(text)) return true
    return wildcards.some(
      ({ start, end }) =>
        // Longer than both together: there is a label where the star is.
        text.length > start.length + end.length && text.startsWith(start) && text.endsWith(end),
    )
  }

  // A daemon mostly serves one site: the last answer is mostly the next one.
  let lastOrigin = ''
  let lastHost = ''
  let lastAnswer = true
  return {
    allows(origin, host) {
      if (origin === '') return true
      if (origin === lastOrigin && host === lastHost) return lastAnswer
      const answer = decide(origin.toLowerCase(), host.toLowerCase())
      lastOrigin = origin
      lastHost = host
      lastAnswer = answer
      return answer
    },
  }
}

interface ParsedOrigin {
  readonly scheme: string
  readonly host: string
  /** With its colon; empty for the scheme's own. */
  readonly port: string
}

// Not `new URL`: that forgives user names, paths, backslashes and tabs, which no browser puts in an Origin.
function parse(origin: string): ParsedOrigin | null {
  if (origin.length > 512) return null
  const match = ORIGIN.exec(origin)
  if (match === null) return null
  const [, scheme = '', host = '', port = ''] = match
  const own = (scheme === 'http' && port === ':80') || (scheme === 'https' && port === ':443')
  return { scheme, host, port: own ? '' : port }
}

// The scheme is not compared: TLS mostly ends before the daemon, which can't know what the page came by.
function isOwn({ scheme, host, port }: ParsedOrigin, header: string): boolean {
  if (scheme !== 'http' && scheme !== 'https') return false
  const own = header.replace(/:(?:80|443)$/, '')
  return own !== '' && own === `${host}${port}`
}
