import { Agent, request } from 'node:http'
import type { TestDaemon } from '../support/daemon.ts'
import { within } from '../support/wait.ts'

/** A message object. */
export interface Message {
  readonly channel: string
  readonly id?: string
  readonly data: unknown
  readonly time: number
}

/** The body of an answer of `/poll`. */
export interface Polled {
  readonly cursor: string
  readonly recovered: boolean
  readonly lost: readonly string[]
  readonly messages: readonly Message[]
  readonly events?: readonly {
    readonly event: string
    readonly args: readonly unknown[]
    readonly id?: string
  }[]
  readonly presence?: readonly { readonly channel: string; readonly event: string }[]
  readonly session?: string
  readonly secret?: string
  readonly error?: { readonly code: string; readonly message: string }
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly text: string
  readonly body: Polled
}

export interface AskOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  /** Cuts the connection. */
  readonly signal?: AbortSignal
}

// One connection a request: what comes back is this request's, and an end of it is the client's going. It says
// keep-alive all the same: who says close is taken for a proxy.
const agent = new Agent({ keepAlive: false })

/** One request, over a connection of its own. */
export function ask(
  daemon: { readonly port: number },
  path: string,
  options: AskOptions = {},
): Promise<Answer> {
  const { method = 'GET', headers = {}, body, signal } = options
  const answer = new Promise<Answer>((resolve, reject) => {
    const sentHeaders = { Connection: 'keep-alive', ...headers }
    const where = { host: '127.0.0.1', port: daemon.port, path, method, headers: sentHeaders, agent }
    const sent = request(signal === undefined ? where : { ...where, signal }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const isJson = /json/.test(response.headers['content-type'] ?? '') && text !== ''
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          body: (isJson ? JSON.parse(text) : {}) as Polled,
        })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
  return within(`the answer of ${path}`, answer, 70_000)
}

/** `/poll` with these channels. */
export function poll(
  daemon: { readonly port: number },
  channels: string | readonly string[],
  parameters: Readonly<Record<string, string | number>> = {},
  options: AskOptions = {},
): Promise<Answer> {
  const query = new URLSearchParams()
  for (const channel of [channels].flat()) query.append('channel', channel)
  for (const [name, value] of Object.entries(parameters)) query.append(name, String(value))
  return ask(daemon, `/poll?${query.toString()}`, options)
}

/** A client that polls until it has so many messages; gives what it got, in the order in which it came. */
export async function follow(
  daemon: TestDaemon,
  channels: readonly string[],
  since: string,
  count: number,
  wait = 10,
): Promise<{ messages: Message[]; lost: string[]; requests: number }> {
  const messages: Message[] = []
  const lost: string[] = []
  let cursor = since
  let requests = 0
  while (messages.length < count) {
    const { status, text, body } = await poll(daemon, channels, { since: cursor, wait })
    if (status !== 200) throw new Error(`${status} ${text}`)
    messages.push(...body.messages)
    lost.push(...body.lost)
    cursor = body.cursor
    requests++
  }
  return { messages, lost, requests }
}

export function data(messages: readonly Message[]): unknown[] {
  return messages.map((message) => message.data)
}
