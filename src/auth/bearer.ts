import { cookieOf } from './cookies.ts'

/** Where a request may carry its token. */
export interface TokenPlaces {
  /** The header `Authorization`, empty when absent. */
  readonly authorization: string
  /** The raw query without `?`. */
  readonly query: string
  /** The header `Cookie`, empty when absent. */
  readonly cookies: string
  /** The cookie that may hold it (`auth.cookie`). */
  readonly cookieName: string | null
}

export interface FoundToken {
  readonly token: string
  /** A browser sends a cookie by itself: what changes something then needs an allowed `Origin`. */
  readonly from: 'header' | 'query' | 'cookie'
}

/** The request's token, the most deliberate place first: header, `token=`, cookie. Null when it has none. */
export function tokenOf({ authorization, query, cookies, cookieName }: TokenPlaces): FoundToken | null {
  const bearer = authorization === '' ? null : bearerOf(authorization)
  if (bearer !== null) return { token: bearer, from: 'header' }
  const parameter = query === '' ? null : queryToken(query)
  if (parameter !== null) return { token: parameter, from: 'query' }
  if (cookieName === null || cookies === '') return null
  const cookie = cookieOf(cookies, cookieName)
  return cookie === null || cookie === '' ? null : { token: cookie, from: 'cookie' }
}

/** What stands behind `Bearer ` in an Authorization header; null for other schemes and for nothing. */
export function bearerOf(authorization: string): string | null {
  if (authorization.length < 8 || authorization.charCodeAt(6) !== 0x20) return null
  if (authorization.slice(0, 6).toLowerCase() !== 'bearer') return null
  const token = authorization.slice(7).trim()
  return token === '' ? null : token
}

function queryToken(query: string): string | null {
  if (!query.includes('token=')) return null
  const token = new URLSearchParams(query).get('token')
  return token === '' ? null : token
}
