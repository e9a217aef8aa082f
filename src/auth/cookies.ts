/** Characters of a Cookie header that are looked at, and cookies that are taken from it. */
const MAX_CHARACTERS = 16_384
const MAX_COOKIES = 128

/**
 * The cookies of a request, percent-decoded, the first of a name winning. The object has no prototype:
 * `__proto__` and `constructor` are names like any other.
 */
export function parseCookies(header: string): Record<string, string> {
  const cookies: Record<string, string> = Object.create(null)
  eachCookie(header, (name, value) => {
    cookies[name] ??= decode(value)
    return false
  })
  return cookies
}

/** One cookie's value without parsing the rest; null when there is none. */
export function cookieOf(header: string, name: string): string | null {
  let found: string | null = null
  eachCookie(header, (candidate, value) => {
    if (candidate !== name) return false
    found = decode(value)
    return true
  })
  return found
}

/** A Cookie header with these cookies of another one only, as they came. */
export function chooseCookies(header: string, names: readonly string[]): string {
  const chosen = header
    .slice(0, MAX_CHARACTERS)
    .split(';', MAX_COOKIES)
    .map((cookie) => cookie.trim())
    .filter((cookie) => names.includes(cookie.slice(0, cookie.indexOf('=')).trim()))
  return chosen.join('; ')
}

/** Visits until the visitor says that it has what it wants. */
function eachCookie(header: string, visit: (name: string, value: string) => boolean): void {
  const length = Math.min(header.length, MAX_CHARACTERS)
  let start = 0
  for (let count = 0; start < length && count < MAX_COOKIES; count++) {
    const semicolon = header.indexOf(';', start)
    // A cookie that the bound cuts in two is no cookie.
    if (semicolon === -1 ? header.length > length : semicolon > length) return
    const end = semicolon === -1 ? length : semicolon
    const equals = header.indexOf('=', start)
    if (equals !== -1 && equals < end) {
      const name = header.slice(start, equals).trim()
      if (name !== '' && visit(name, unquote(header.slice(equals + 1, end).trim()))) return
    }
    start = end + 1
  }
}

function unquote(value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}

function decode(value: string): string {
  if (!value.includes('%')) return value
  try {
    return decodeURIComponent(value)
  } catch (error) {
    if (error instanceof URIError) return value // not encoded by anyone: it means itself
    throw error
  }
}
