import { type Teardown, until, within } from '../support/wait.ts'

/** An answer of HTTP, its JSON decoded. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Readonly<Record<string, unknown>>
}

export type HeadersOf = Readonly<Record<string, string>>

/** POSTs: a string as it is, anything else as JSON. */
export async function post(
  daemon: { readonly url: string },
  path: string,
  body?: unknown,
  headers: HeadersOf = {},
): Promise<Answer> {
  const sent = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body)
  const type = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const request = fetch(daemon.url + path, {
    method: 'POST',
    // As bytes: fetch gives a text a Content-Type of its own.
    body: sent === null ? null : Buffer.from(sent),
    headers: { ...type, ...headers },
  })
  const response = await within(`the answer to ${path}`, request)
  const text = await response.text()
  const json = response.headers.get('content-type') === 'application/json'
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: json ? (JSON.parse(text) as Answer['body']) : {},
  }
}

/** A block of Server-Sent Events. */
export interface Block {
  readonly event: string
  readonly id: string | null
  readonly data: Readonly<Record<string, unknown>>
  /** As it came. */
  readonly text: string
}

/** A client that receives Server-Sent Events and sends by POST. */
export class Receiver {
  readonly blocks: Block[] = []
  readonly #daemon: { readonly url: string }
  readonly #abort = new AbortController()
  readonly #taken = new Set<Block>()
  #ended = false

  constructor(daemon: { readonly url: string }) {
    this.#daemon = daemon
  }

  get ended(): boolean {
    return this.#ended
  }

  get session(): string {
    return String(this.#welcome['session'])
  }

  get secret(): string {
    return String(this.#welcome['secret'])
  }

  /** What its requests show. */
  get pass(): HeadersOf {
    return { 'Livemessage-Session': this.session, 'Livemessage-Secret': this.secret }
  }

  get #welcome(): Block['data'] {
    return this.blocks.find(({ event }) => event === 'welcome')?.data ?? {}
  }

  async open(query: string, headers: HeadersOf = {}): Promise<void> {
    const response = await fetch(`${this.#daemon.url}/sse?${query}`, { headers, signal: this.#abort.signal })
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
    void this.#read(response)
    await until('the welcome', () => this.blocks.some(({ event }) => event === 'welcome'))
  }

  /** The first block of this event, with these words in its data, that no other `next` has given. */
  async next(event: string, words = ''): Promise<Block> {
    const block = await until(`an event ${event} ${words}`, () =>
      this.blocks.find((one) => one.event === event && !this.#taken.has(one) && one.text.includes(words)),
    )
    this.#taken.add(block)
    return block
  }

  /** The data of the messages so far. */
  get messages(): unknown[] {
    return this.blocks.filter(({ event }) => event === 'message').map(({ data }) => data['data'])
  }

  /** POSTs as this connection. */
  post(path: string, body?: unknown, headers: HeadersOf = {}): Promise<Answer> {
    return post(this.#daemon, path, body, { ...this.pass, ...headers })
  }

  close(): void {
    this.#abort.abort()
  }

  async #read(response: Response): Promise<void> {
    let rest = ''
    try {
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
        rest += text
        for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
          this.#take(rest.slice(0, end))
          rest = rest.slice(end + 2)
        }
      }
    } catch {
      // Cut, by the test or by the daemon: `ended` says so.
    }
    this.#ended = true
  }

  #take(text: string): void {
    const fields = new Map(text.split('\n').map((line) => splitAt(line)))
    const data = fields.get('data')
    if (data === undefined) return
    const decoded = JSON.parse(data) as Block['data']
    const event = fields.get('event') ?? 'message'
    this.blocks.push({ event, id: fields.get('id') ?? null, data: decoded, text: data })
  }
}

function splitAt(line: string): [string, string] {
  const colon = line.indexOf(': ')
  return colon === -1 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 2)]
}

/** Opens a stream; its end comes with the test's. */
export async function receive(
  t: Teardown,
  daemon: { readonly url: string },
  query = '',
  headers: HeadersOf = {},
): Promise<Receiver> {
  const receiver = new Receiver(daemon)
  t.teardown(() => receiver.close())
  await receiver.open(query, headers)
  return receiver
}
