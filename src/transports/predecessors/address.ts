import type { Request } from '../../listeners/listener.ts'
import { ClientError } from '../../protocol/codes.ts'
import { isChannel } from '../../protocol/names.ts'
import { invalid } from '../fields.ts'

/**
 * The channel of a predecessor's address: `cid=5` is channel `chat:5`.
 * @throws {ClientError} invalid_input
 */
export function channelIn(request: Request, subsystem: string, names: readonly string[]): string {
  const parameters = new URLSearchParams(request.query)
  const found = names.flatMap((name) => parameters.getAll(name))
  if (found.length === 0) throw invalid(`${names[0]}: is missing`)
  if (found.length > 1) throw invalid(`${names[0]}: only one`)
  const channel = `${subsystem}:${found[0]}`
  if (isChannel(channel)) return channel
  throw new ClientError('invalid_input', `${names[0]}: 1 to 200 of A-Za-z0-9_.:@=-`)
}

/** What the parameters of our own addresses are called. */
const OWN = [
  'callback',
  'channel',
  'format',
  'frames',
  'last',
  'lastEventId',
  'secret',
  'session',
  'since',
  'wait',
] as const

/**
 * A request as it would have been at an address of our own. What else is in its query pollers: a token, and what an
 * `authenticate` hook goes by.
 */
export class Readdressed implements Request {
  readonly #request: Request
  readonly query: string

  constructor(request: Request, query: Readonly<Record<string, string>>) {
    this.#request = request
    const parameters = new URLSearchParams(request.query)
    for (const name of OWN) parameters.delete(name)
    for (const [name, value] of Object.entries(query)) parameters.set(name, value)
    this.query = parameters.toString()
  }

  get method(): string {
    return this.#request.method
  }

  get path(): string {
    return this.#request.path
  }

  get address(): string {
    return this.#request.address
  }

  get proxiedAddress(): string {
    return this.#request.proxiedAddress
  }

  header(name: string): string {
    return this.#request.header(name)
  }

  eachHeader(visit: (name: string, value: string) => void): void {
    this.#request.eachHeader(visit)
  }

  readBody(limitBytes: number, done: (body: Buffer | null) => void): void {
    this.#request.readBody(limitBytes, done)
  }
}
