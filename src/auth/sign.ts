import { createHmac } from 'node:crypto'

/** How long the demo page's token lasts, in seconds. */
const LIFETIME_S = 12 * 60 * 60

/** A token of a user for the demo page: HS256, as RFC 7515 writes it. */
export function signToken(user: string, secret: string): string {
  const head = encode({ alg: 'HS256', typ: 'JWT' })
  const body = encode({ sub: user, exp: Math.floor(Date.now() / 1000) + LIFETIME_S })
  const signature = createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')
  return `${head}.${body}.${signature}`
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
