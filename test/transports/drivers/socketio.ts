import { io } from 'socket.io-client'
import { until } from '../../support/wait.ts'
import { type Came, type Driver, type Got, headersOf, Recording } from './driver.ts'

export const socketIoWebSocket = socketIo('Socket.IO, WebSocket', 'socket.io websocket', 'websocket')
export const socketIoPolling = socketIo('Socket.IO, polling', 'socket.io polling', 'polling')

interface Subscribed {
  readonly recovered: boolean
  readonly cursor: string | null
  readonly messages: readonly Got[]
}

/** The official client. */
function socketIo(row: string, follower: string, transport: 'websocket' | 'polling'): Driver {
  return {
    row,
    follower,
    asks: false,
    async reach(t, base, { channels, from, token, option }) {
      const record = new Recording()
      const auth: Record<string, unknown> = { channels }
      if (from?.by === 'auth.since') auth['since'] = from.cursor
      if (token?.by === 'auth.token') auth['token'] = token.text
      const coming = { channels, ...(token === undefined ? {} : { token }) }
      const socket = io(`${base}/chat`, {
        transports: [transport],
        forceNew: true,
        reconnection: false,
        // The cookie by which Apache finds the node again.
        withCredentials: transport === 'polling',
        auth,
        extraHeaders: headersOf(coming),
        query: token?.by === 'token=' ? { token: token.text } : {},
      })
      record.end = () => void socket.close()
      t.teardown(() => record.end())
      let subscribed = 0
      let answer: string | null = null
      socket.on('message', (message: Got) => record.take(message))
      socket.on('subscribed', ({ messages, recovered, cursor }: Subscribed) => {
        for (const message of messages) record.take(message)
        if (from !== undefined && !recovered) record.lostBy = 'recovered'
        record.cursor ??= cursor
        subscribed++
      })
      socket.on('cursor', ({ cursor }: { cursor: string }) => (record.cursor = cursor))
      socket.on('presence', (told: { event: string }) => record.presence.push(told))
      socket.on('error', ({ code }: { code: string }) => (record.refused ??= code))
      socket.on('connect_error', (error) => (record.refused ??= error.message))
      socket.onAny((event: string, ...args: unknown[]) => {
        if (OWN.has(event)) return
        const last = args.at(-1)
        const came: Came = { event, args: typeof last === 'function' ? args.slice(0, -1) : args }
        record.events.push(came)
        if (typeof last === 'function' && answer !== null) (last as (text: string) => void)(answer)
      })
      record.emit = async (event, ...args) => {
        const told: unknown = await socket.timeout(10_000).emitWithAck(event, ...args)
        const { error } = (told ?? {}) as { error?: { code: string } }
        return error === undefined ? { data: told } : { code: error.code }
      }
      record.acknowledge = (text) => (answer = text)
      await until('the subscriptions', () => subscribed === channels.length || record.refused !== null)
      record.session = socket.id ?? null
      if (option !== undefined) throw new Error(`there is no ${option} here`)
      return record
    },
  }
}

/** Events that are the protocol's. */
const OWN = new Set(['message', 'subscribed', 'cursor', 'presence', 'error', 'close', 'reconnect', 'reply'])
