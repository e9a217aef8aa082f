import type { Teardown } from '../../support/wait.ts'

/** A message as it came; the predecessors' comet gives nothing but the data. */
export interface Got {
  readonly channel?: string
  readonly id?: string
  readonly data: unknown
}

export interface Came {
  readonly event: string
  readonly args: readonly unknown[]
  readonly id?: string | number
}

/** How a client is to come. */
export interface Coming {
  readonly channels: readonly string[]
  /** From where it goes on, and by which of the transport's words this is said. */
  readonly from?: { readonly cursor: string; readonly by: string }
  /** Who it is, and by which word. */
  readonly token?: { readonly text: string; readonly by: string }
  /** A further parameter that the table names: `frames=1`, `session=new`. */
  readonly option?: string
}

/** What answered a frame or a request: its data, or its error's code. */
export interface Answered {
  readonly data?: unknown
  readonly code?: string
}

/** One client of one transport, and what came to it. */
export interface Reached {
  readonly messages: readonly Got[]
  readonly events: readonly Came[]
  readonly presence: readonly { readonly event: string }[]
  /** The word by which it was told that something is gone; null: it was not. */
  readonly lostBy: string | null
  /** Why it was not let in, or was sent away. */
  readonly refused: string | null
  /** From where it would go on. */
  readonly cursor: string | null
  readonly session: string | null
  /** Headers by which its POSTs act as it; null where it was told none. */
  readonly pass: Readonly<Record<string, string>> | null
  /** Sends a frame of the protocol by the connection itself. */
  readonly frame?: ((frame: Readonly<Record<string, unknown>>) => Promise<Answered>) | undefined
  /** Sends an event that is a call. */
  readonly emit?: ((event: string, ...args: unknown[]) => Promise<Answered>) | undefined
  /** Answers events from now on with this, by the connection itself. */
  readonly acknowledge?: ((answer: string) => void) | undefined
  close(): Promise<void>
}

export interface Driver {
  /** Its row in the table. */
  readonly row: string
  /** The same road in the proxies' tests, where clients are drained; null: none of its own. */
  readonly follower: string | null
  /** Between two requests the daemon does not know it. */
  readonly asks: boolean
  /** `base`: `http://host:port` */
  reach(t: Teardown, base: string, coming: Coming): Promise<Reached>
}

/** What all of them keep. */
export class Recording implements Reached {
  readonly messages: Got[] = []
  readonly events: Came[] = []
  readonly presence: { event: string }[] = []
  lostBy: string | null = null
  refused: string | null = null
  cursor: string | null = null
  session: string | null = null
  pass: Readonly<Record<string, string>> | null = null
  frame?: Reached['frame']
  emit?: Reached['emit']
  acknowledge?: Reached['acknowledge']
  end: () => unknown = () => undefined

  async close(): Promise<void> {
    await this.end()
  }

  take(message: Got): void {
    this.messages.push(message)
    if (message.id !== undefined) this.cursor = message.id
  }

  told({ session, secret }: { readonly session?: unknown; readonly secret?: unknown }): void {
    if (typeof session === 'string') this.session = session
    if (typeof session !== 'string' || typeof secret !== 'string') return
    this.pass = { 'Livemessage-Session': session, 'Livemessage-Secret': secret }
  }

  /** An object of a stream, or a frame: messages have no type there. */
  takeObject(object: Readonly<Record<string, unknown>>): void {
    switch (object['type']) {
      case undefined:
      case 'message':
        return this.take(object as unknown as Got)
      case 'welcome':
        return this.told(object)
      case 'cursor':
        this.cursor = String(object['cursor'])
        return undefined
      case 'lost':
        this.lostBy = 'lost'
        return undefined
      case 'event':
        this.events.push(object as unknown as Came)
        return undefined
      case 'presence':
        this.presence.push(object as unknown as { event: string })
        return undefined
      case 'subscribed':
        for (const message of object['messages'] as Got[]) this.take(message)
        return undefined
      case 'error':
      case 'close':
        this.refused ??= String(object['code'])
        return undefined
      default:
        return undefined
    }
  }
}

/** The query that says all of it; what is said by headers is in `headersOf`. */
export function queryOf({ channels, from, token, option }: Coming): URLSearchParams {
  const query = new URLSearchParams(option === undefined ? '' : option)
  for (const channel of channels) query.append('channel', channel)
  if (from !== undefined && from.by === 'since') query.set('since', from.cursor)
  if (token !== undefined && token.by === 'token=') query.set('token', token.text)
  return query
}

export function headersOf({ from, token }: Coming): Record<string, string> {
  const headers: Record<string, string> = {}
  if (from !== undefined && from.by !== 'since' && from.by !== 'auth.since') {
    headers[from.by] = from.by === 'If-None-Match' ? `"${from.cursor}"` : from.cursor
  }
  if (token?.by === 'Authorization') headers['Authorization'] = `Bearer ${token.text}`
  if (token?.by === 'cookie') headers['Cookie'] = `${COOKIE}=${token.text}`
  return headers
}

/** The cookie that the matrix's daemon takes tokens from. */
export const COOKIE = 'matrix'

/** Repeats `round` until it is ended; what it throws while it is not is a refusal. */
export function repeat(t: Teardown, record: Recording, round: (signal: AbortSignal) => Promise<void>): void {
  const abort = new AbortController()
  const running = (async () => {
    while (!abort.signal.aborted && record.refused === null) {
      try {
        await round(abort.signal)
      } catch (error) {
        if (!abort.signal.aborted) record.refused ??= String(error)
      }
    }
  })()
  record.end = async () => {
    abort.abort()
    await running
  }
  t.teardown(() => record.end())
}
