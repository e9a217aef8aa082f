import { createHash } from 'node:crypto'
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { WebhookConfig } from '../config/signals-config.ts'
import { withDeadline } from '../deadline.ts'
import { messageOf } from '../errors.ts'
import { VERSION } from '../version.ts'
import { signatureHeaders } from './signature.ts'
import type { SignalTarget, Verdict, Waiting } from './target.ts'

/** An address of the application, to which signals are posted, signed. */
export class Webhook implements SignalTarget {
  readonly name: string
  readonly #config: WebhookConfig
  readonly #url: URL
  readonly #agent: HttpAgent

  constructor(config: WebhookConfig) {
    this.name = config.name
    this.#config = config
    this.#url = new URL(config.url)
    const options = { keepAlive: true, maxSockets: 1 }
    this.#agent = this.#url.protocol === 'https:' ? new HttpsAgent(options) : new HttpAgent(options)
  }

  start(): void {
    // Nothing to be opened: the first request does it.
  }

  async deliver(waiting: readonly Waiting[], signal: AbortSignal): Promise<Verdict> {
    const body = `{"signals":[${waiting.map((one) => one.body).join(',')}]}`
    const id = `sig_${createHash('sha256').update(body).digest('base64url').slice(0, 27)}`
    const timestamp = Math.floor(Date.now() / 1000)
    const headers = {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'user-agent': `livemessages/${VERSION}`,
      ...signatureHeaders({ id, timestamp, body }, this.#config.secrets),
    }
    try {
      return await withDeadline(this.#config.timeoutMs, [signal], (either) =>
        this.#post(headers, body, either),
      )
    } catch (error) {
      signal.throwIfAborted()
      return { taken: false, reason: reasonOf(error) }
    }
  }

  stop(): Promise<void> {
    this.#agent.destroy()
    return Promise.resolve()
  }

  #post(headers: Record<string, string>, body: string, signal: AbortSignal): Promise<Verdict> {
    const send = this.#url.protocol === 'https:' ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const options = { method: 'POST', agent: this.#agent, headers, signal }
      const request = send(this.#url, options, (response) => {
        discard(response)
        resolve(verdictOf(response))
      })
      request.on('error', (error) => reject(signal.aborted ? (signal.reason as Error) : error))
      request.end(body)
    })
  }
}

/** What an answer has to say beside its status is of no interest: so much of it is read for the connection's sake. */
const MOST_ANSWER = 64 * 1024
const ANSWER_MS = 2_000

function discard(response: IncomingMessage): void {
  let bytes = 0
  const late = setTimeout(() => response.destroy(), ANSWER_MS).unref()
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MOST_ANSWER) response.destroy()
  })
  // The status said all.
  response.on('error', () => undefined)
  response.on('close', () => clearTimeout(late))
}

function verdictOf({ statusCode = 0, headers }: IncomingMessage): Verdict {
  if (statusCode >= 200 && statusCode < 300) return { taken: true }
  const reason = `status ${statusCode}`
  if (statusCode === 413) return { taken: false, reason, tooLarge: true }
  const seconds = Number(headers['retry-after'])
  return Number.isFinite(seconds) && seconds > 0
    ? { taken: false, reason, afterMs: seconds * 1000 }
    : { taken: false, reason }
}

/** Without the address, in which there may be a secret. */
function reasonOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return messageOf(error)
}
