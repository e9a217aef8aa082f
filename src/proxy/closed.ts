/** What a proxy answers where nothing is open: what the daemon says of an unknown path. */
export const NOT_FOUND = '{"error":{"code":"not_found","message":"nothing is here"}}'

/**
 * A path as a client of ours writes it: no `//`, no `.` or `..` as a segment, nothing encoded, no `;`. Proxies differ
 * in what they make of those before they look at a path, and in what of that they pass on.
 */
export const PLAIN_PATH = '^(/[.]?[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+/?$'

/** Headers by which a client could say that it is another; a proxy's own are set after these are gone. */
export const FORWARDING_HEADERS: readonly string[] = [
  'Forwarded',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Port',
  'X-Forwarded-Proto',
  'X-Forwarded-Server',
  'X-Forwarded-Prefix',
  'X-Forwarded-User',
  'X-Real-IP',
  'Proxy',
]

/** Those, and the one by which the daemon is told the user, where there is one. */
export function deletedHeaders(userHeader: string | null): readonly string[] {
  if (userHeader === null || FORWARDING_HEADERS.some((name) => name.toLowerCase() === userHeader)) {
    return FORWARDING_HEADERS
  }
  return [...FORWARDING_HEADERS, userHeader]
}
