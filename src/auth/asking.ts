import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import { parseJson } from '../protocol/json.ts'
import type { User } from '../registry/define.ts'
import { checkUser } from './users.ts'

/** Bytes of an answer that are read at most. */
const MAX_BYTES = 64 * 1024

/** The application could not be asked, or answered what can't be understood: not the client's fault. */
export class AskingError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'AskingError'
  }
}

/** `nobody`: it knows no user by these credentials. `refused`: it wants nothing of whoever that is. */
export type Answer = User | 'nobody' | 'refused'

/**
 * Asks the application whose these credentials are. Bounded in bytes and time; a redirect is not followed, for it goes
 * to a page where one signs in.
 * @throws {AskingError}
 */
export async function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
  signals: readonly AbortSignal[] = [],
): Promise<Answer> {
  try {
    return await withDeadline(timeoutMs, signals, (signal) => request(url, headers, signal))
  } catch (error) {
    throw error instanceof AskingError ? error : new AskingError(reasonOf(error), { cause: error })
  }
}

async function request(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Answer> {
  const response = await fetch(url, { headers: encode(headers), redirect: 'manual', signal })
  const { status } = response
  if (status === 200) return decodeAnswer(await readText(response))
  await response.body?.cancel()
  if (status === 204 || status === 401 || isRedirect(status)) return 'nobody'
  if (status === 403) return 'refused'
  throw new AskingError(`it answered ${status}`)
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  // Leaving the loop early cancels the body.
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_BYTES) throw new AskingError(`it sends more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

/** @throws {AskingError} for what is no answer, saying what is wrong with it */
export function decodeAnswer(text: string): Answer {
  const answer: unknown = parseJson(text)?.value
  if (answer === null) return 'nobody'
  if (typeof answer !== 'object' || Array.isArray(answer)) throw new AskingError('it answered no JSON object')
  const field = (name: string): unknown =>
    Object.hasOwn(answer, name) ? (Reflect.get(answer, name) ?? undefined) : undefined
  const name = Object.hasOwn(answer, 'user') ? 'user' : 'id'
  const id: unknown = Object.hasOwn(answer, name) ? Reflect.get(answer, name) : undefined
  // `false` is what Odoo has for it.
  if (id === null || id === false) return 'nobody'
  const user = checkUser(
    {
      id,
      info: field('info'),
      expires: timeOf('expires', field('expires')),
      database: field('database'),
      channels: field('channels'),
    },
    { id: 'user' },
  )
  if (typeof user === 'string') throw new AskingError(`its answer is wrong: ${user}`)
  return user
}

/** Of seconds beyond this the year has five digits: they are milliseconds. */
const MAX_SECONDS = 1e11

/** Seconds since 1970, as a token's `exp`, or a time of ISO 8601; in milliseconds. */
function timeOf(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined
  const ms = typeof value === 'string' ? timeOfText(value) : typeof value === 'number' ? value * 1000 : NaN
  if (Number.isFinite(ms) && ms < MAX_SECONDS * 1000) return ms
  throw new AskingError(
    `its answer is wrong: ${name} must be seconds since 1970, or a time such as 2030-01-31T12:00:00Z`,
  )
}

/** Without its zone it would be one time here and another one there. */
function timeOfText(text: string): number {
  return /^\d{4}-\d\d-\d\d[T ].*(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? Date.parse(text) : NaN
}

/** The bytes as they came: HTTP has no characters beyond Latin-1. */
function encode(headers: Readonly<Record<string, string>>): Record<string, string> {
  const encoded: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    // oxlint-disable-next-line no-control-regex -- these three can't be sent, and nobody could have sent them
    if (/[\0\r\n]/.test(value)) continue
    // oxlint-disable-next-line no-control-regex
    encoded[name] = /^[\0-\xff]*$/.test(value) ? value : Buffer.from(value).toString('latin1')
  }
  return encoded
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return 'it did not answer in time'
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : messageOf(error)
}
