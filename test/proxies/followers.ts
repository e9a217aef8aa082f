import { Socket as EngineSocket } from 'engine.io-client'
import { EventSource } from 'eventsource'
import { io, type Socket } from 'socket.io-client'
import { WebSocket } from 'ws'

/** A client that comes back by itself and with its cursor, as those of browsers do. */
export interface Follower {
  /** The numbers that were published to its channel, as they came. */
  readonly heard: readonly number[]
  /** What should not have happened to it. */
  readonly faults: readonly string[]
  /** How often it was connected. */
  readonly stays: number
  end(): Promise<void>
}

export interface Transport {
  readonly name: string
  /** Follows the channel through the server at `base`, `http://host:port`. */
  follow(base: string, channel: string): Follower
}

interface Message {
  readonly id?: string
  readonly data: unknown
}

/** What all of them keep. */
class Record {
  readonly heard: number[] = []
  readonly faults: string[] = []
  stays = 0
  cursor: string | null = null
  ended = false

  message({ id, data }: Message): void {
    this.heard.push(Number(data))
    if (id !== undefined) this.cursor = id
  }

  query(channel: string): string {
    const query = new URLSearchParams({ channel })
    if (this.cursor !== null) query.set('since', this.cursor)
    return query.toString()
  }
}

/** Stays as often as it is sent away, with a breath between; what throws while it is not ended is a fault. */
function staying(record: Record, stay: (signal: AbortSignal) => Promise<void>): Follower {
  const abort = new AbortController()
  const run = async (): Promise<void> => {
    while (!record.ended) {
      try {
        await stay(abort.signal)
      } catch (error) {
        if (!record.ended) record.faults.push(String(error))
      }
      if (!record.ended) await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const running = run()
  return {
    heard: record.heard,
    faults: record.faults,
    get stays() {
      return record.stays
    },
    end: async () => {
      record.ended = true
      abort.abort()
      await running
    },
  }
}

const websocket: Transport = {
  name: 'websocket',
  follow(base, channel) {
    const record = new Record()
    return staying(record, (signal) => {
      const url = `${base.replace(/^http/, 'ws')}/ws?${record.query(channel)}`
      const socket = new WebSocket(url, { handshakeTimeout: 5000 })
      const leave = (): void => socket.terminate()
      signal.addEventListener('abort', leave)
      return new Promise((resolve, reject) => {
        socket.on('open', () => record.stays++)
        socket.on('message', (bytes: Buffer) => {
          takeFrame(record, bytes.toString())
        })
        // A refused upgrade: what browsers can't tell from a network that is away.
        socket.on('error', reject)
        socket.on('close', () => {
          signal.removeEventListener('abort', leave)
          resolve()
        })
      })
    })
  },
}

/** A frame of the protocol. */
function takeFrame(record: Record, text: string): void {
  const frame = JSON.parse(text) as {
    type: string
    recovered?: boolean
    cursor?: string
    messages?: Message[]
  } & Message
  if (frame.type === 'message') record.message(frame)
  else if (frame.type === 'cursor') record.cursor = frame.cursor ?? null
  else if (frame.type === 'error') record.faults.push(text)
  else if (frame.type === 'subscribed') {
    if (record.cursor !== null && frame.recovered !== true) record.faults.push('not recovered')
    for (const message of frame.messages ?? []) record.message(message)
    record.cursor ??= frame.cursor ?? null
  }
}

/** The npm package, which comes back by the standard: for good it gives up at any status but 200. */
const sse: Transport = {
  name: 'sse',
  follow(base, channel) {
    const record = new Record()
    const source = new EventSource(`${base}/sse?${record.query(channel)}`)
    source.addEventListener('open', () => record.stays++)
    source.addEventListener('message', (event) => record.message(JSON.parse(event.data as string) as Message))
    source.addEventListener('lost', (event) => record.faults.push(`lost ${String(event.data)}`))
    source.addEventListener('error', (event) => {
      if (source.readyState === source.CLOSED) record.faults.push(`gave up: ${event.code} ${event.message}`)
    })
    return {
      heard: record.heard,
      faults: record.faults,
      get stays() {
        return record.stays
      },
      end: () => Promise.resolve(source.close()),
    }
  },
}

const stream: Transport = {
  name: 'stream',
  follow(base, channel) {
    const record = new Record()
    return staying(record, async (signal) => {
      const response = await fetch(`${base}/stream?${record.query(channel)}`, { signal })
      if (response.status === 503 && response.headers.has('retry-after')) return response.body?.cancel()
      if (response.status !== 200) throw new Error(`stream: ${response.status} ${await response.text()}`)
      record.stays++
      let rest = ''
      const decoder = new TextDecoder()
      try {
        for await (const chunk of response.body!) {
          const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) if (line.trim() !== '') take(record, JSON.parse(line) as object)
        }
      } catch (error) {
        // Cut within the answer: as it is when a node goes.
        if (signal.aborted) return
        if (!/terminated|aborted/.test(String(error))) throw error
      }
    })
  },
}

function take(record: Record, line: object): void {
  if ('data' in line && 'channel' in line) record.message(line)
  else if ('lost' in line) record.faults.push(JSON.stringify(line))
  else if ('cursor' in line && typeof line.cursor === 'string') record.cursor = line.cursor
}

const poll: Transport = {
  name: 'poll',
  follow(base, channel) {
    const record = new Record()
    return staying(record, async (signal) => {
      const response = await fetch(`${base}/poll?${record.query(channel)}&wait=5`, { signal })
      const text = await response.text()
      // A node that stops says so. HAProxy and nginx ask the next one then; Apache passes it on.
      if (response.status === 503 && response.headers.has('retry-after')) return
      if (response.status !== 200) throw new Error(`poll: ${response.status} ${text}`)
      record.stays++
      const answer = JSON.parse(text) as { cursor: string; lost?: string[]; messages: Message[] }
      if ((answer.lost ?? []).length > 0) record.faults.push(`lost ${text}`)
      for (const message of answer.messages) record.message(message)
      record.cursor = answer.cursor
    })
  },
}

/** The official client: by polling alone, by WebSocket alone, or as pages have it, from the one to the other. */
function socketIo(name: string, transports: ('polling' | 'websocket')[]): Transport {
  return {
    name,
    follow(base, channel) {
      const record = new Record()
      const socket: Socket = io(`${base}/chat`, {
        transports,
        forceNew: true,
        // The cookie by which Apache finds the node again.
        withCredentials: true,
        reconnectionDelay: 20,
        reconnectionDelayMax: 100,
        auth: (give) =>
          give({ channels: [channel], ...(record.cursor === null ? {} : { since: record.cursor }) }),
      })
      socket.on('connect', () => record.stays++)
      socket.on('message', (message: Message) => record.message(message))
      socket.on('cursor', ({ cursor }: { cursor: string }) => (record.cursor = cursor))
      socket.on('subscribed', (answer: { recovered?: boolean; cursor: string; messages?: Message[] }) => {
        if (record.cursor !== null && answer.recovered !== true) record.faults.push('not recovered')
        for (const message of answer.messages ?? []) record.message(message)
        record.cursor ??= answer.cursor
      })
      socket.on('error', (error: unknown) => record.faults.push(JSON.stringify(error)))
      // With `active` it comes back by itself.
      socket.on('connect_error', (error) => {
        if (!socket.active || !/poll error|websocket error|xhr/.test(error.message)) {
          record.faults.push(String(error))
        }
      })
      socket.on('disconnect', (reason) => {
        if (!socket.active && !record.ended) record.faults.push(`gave up: ${reason}`)
      })
      return {
        heard: record.heard,
        faults: record.faults,
        get stays() {
          return record.stays
        },
        end: () => {
          record.ended = true
          socket.disconnect()
          return Promise.resolve()
        },
      }
    },
  }
}

/** The official client, which does not come back by itself. */
function engineIo(name: string, transport: 'polling' | 'websocket'): Transport {
  return {
    name,
    follow(base, channel) {
      const record = new Record()
      return staying(record, (signal) => {
        const socket = new EngineSocket(base, {
          transports: [transport],
          withCredentials: true,
          query: { channel, ...(record.cursor === null ? {} : { since: record.cursor }) },
        })
        const leave = (): void => void socket.close()
        signal.addEventListener('abort', leave)
        socket.on('open', () => record.stays++)
        socket.on('message', (text: string) => takeFrame(record, text))
        socket.on('error', (error) => {
          if (!/poll error|websocket error|xhr/.test(String(error))) record.faults.push(String(error))
        })
        return new Promise((resolve) => {
          socket.on('close', () => {
            signal.removeEventListener('abort', leave)
            resolve()
          })
        })
      })
    },
  }
}

export const TRANSPORTS: readonly Transport[] = [
  websocket,
  sse,
  stream,
  poll,
  socketIo('socket.io', ['polling', 'websocket']),
  socketIo('socket.io polling', ['polling']),
  socketIo('socket.io websocket', ['websocket']),
  engineIo('engine.io polling', 'polling'),
  engineIo('engine.io websocket', 'websocket'),
]
