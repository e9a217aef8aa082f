import { createHmac, timingSafeEqual } from 'node:crypto'
import { LivemessageError } from '../errors.ts'
import type { Signal } from './signal.ts'

/** How far a request's time may be from the receiver's. */
const TOLERANCE_MS = 300_000

/** A webhook's headers, as https://www.standardwebhooks.com names them. */
export function signatureHeaders(
  { id, timestamp, body }: { readonly id: string; readonly timestamp: number; readonly body: string },
  secrets: readonly string[],
): Record<string, string> {
  const signatures = secrets.map(
    (secret) => `v1,${sign(id, String(timestamp), body, secret).toString('base64')}`,
  )
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.join(' '),
  }
}

/** A webhook's request, as its receiver has it. */
export interface WebhookRequest {
  /** Of the Fetch API, or node:http's. */
  readonly headers:
    { get(name: string): string | null } | Readonly<Record<string, string | readonly string[] | undefined>>
  /** As it came, byte for byte. */
  readonly body: string | Uint8Array
}

export interface VerifyOptions {
  /** How far its time may be from now, in ms. @default 300000 */
  readonly toleranceMs?: number
  /** Milliseconds since 1970. @default Date.now() */
  readonly now?: number
}

/**
 * Checks that a request was signed with the secret (or one of several), not long ago, and gives its signals. Each may
 * come again: by its `id` it is known.
 * @throws {LivemessageError} WEBHOOK_REFUSED
 */
export function verifyWebhook(
  { headers, body }: WebhookRequest,
  secret: string | readonly string[],
  { toleranceMs = TOLERANCE_MS, now = Date.now() }: VerifyOptions = {},
): readonly Signal[] {
  const id = headerOf(headers, 'webhook-id')
  const timestamp = headerOf(headers, 'webhook-timestamp')
  const given = headerOf(headers, 'webhook-signature')
  if (!/^\d{1,15}$/.test(timestamp)) throw refused('webhook-timestamp is no number of seconds')
  if (Math.abs(now - Number(timestamp) * 1000) > toleranceMs) throw refused('it is too old, or of the future')
  const secrets = typeof secret === 'string' ? [secret] : secret
  const expected = secrets.map((one) => sign(id, timestamp, body, one))
  const isGood = given.split(' ').some((signature) => {
    if (!signature.startsWith('v1,')) return false
    const bytes = Buffer.from(signature.slice('v1,'.length), 'base64')
    return expected.some((one) => one.length === bytes.length && timingSafeEqual(one, bytes))
  })
  if (!isGood) throw refused('no signature is of this secret')
  const { signals } = JSON.parse(typeof body === 'string' ? body : Buffer.from(body).toString()) as {
    signals: readonly Signal[]
  }
  return signals
}

function sign(id: string, timestamp: string, body: string | Uint8Array, secret: string): Buffer {
  return createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest()
}

/** By the specification a secret is base64 behind `whsec_`; any other text is itself the key. */
function keyOf(secret: string): Buffer {
  return secret.startsWith('whsec_')
    ? Buffer.from(secret.slice('whsec_'.length), 'base64')
    : Buffer.from(secret)
}

function headerOf(headers: WebhookRequest['headers'], name: string): string {
  const value = isGetter(headers) ? headers.get(name) : headers[name]
  if (typeof value === 'string' && value !== '') return value
  throw refused(`it has no header ${name}`)
}

function isGetter(headers: WebhookRequest['headers']): headers is { get(name: string): string | null } {
  return typeof headers['get'] === 'function'
}

function refused(why: string): LivemessageError {
  return new LivemessageError('WEBHOOK_REFUSED', `the request is no webhook of this secret's: ${why}`)
}
