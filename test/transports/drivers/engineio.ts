import { Socket } from 'engine.io-client'
import { until } from '../../support/wait.ts'
import { type Answered, type Driver, headersOf, Recording } from './driver.ts'

export const engineIoWebSocket = engineIo('Engine.IO, WebSocket', 'engine.io websocket', 'websocket')
export const engineIoPolling = engineIo('Engine.IO, polling', 'engine.io polling', 'polling')

/** The official client: each message is a frame. */
function engineIo(row: string, follower: string, transport: 'websocket' | 'polling'): Driver {
  return {
    row,
    follower,
    asks: false,
    async reach(t, base, coming) {
      const { channels, from, token, option } = coming
      if (option !== undefined) throw new Error(`there is no ${option} here`)
      const recording = new Recording()
      const socket = new Socket(base, {
        transports: [transport],
        extraHeaders: headersOf(token === undefined ? { channels } : { channels, token }),
        query: {
          ...(channels.length === 0 ? {} : { channel: channels }),
          ...(from?.by === 'since' ? { since: from.cursor } : {}),
          ...(token?.by === 'token=' ? { token: token.text } : {}),
        },
      })
      recording.end = () => void socket.close()
      t.teardown(() => recording.end())
      const answers = new Map<unknown, Answered>()
      let answer: string | null = null
      let subscribed = 0
      let lastId = 0
      const say = (frame: object): void => void socket.send(JSON.stringify(frame))
      socket.on('message', (text: string) => {
        const frame = JSON.parse(text) as Readonly<Record<string, unknown>>
        const { type, id } = frame
        if (id !== undefined && (type === 'error' || type === 'reply')) {
          answers.set(id, type === 'error' ? { code: String(frame['code']) } : { data: frame['data'] })
          return
        }
        recording.takeObject(frame)
        if (type === 'subscribed') {
          subscribed++
          if (from !== undefined && frame['recovered'] !== true) recording.lostBy = 'recovered'
          recording.cursor ??= frame['cursor'] as string | null
        }
        if (type === 'event' && id !== undefined && answer !== null) say({ type: 'ack', id, args: [answer] })
      })
      socket.on('error', (error) => (recording.refused ??= String(error)))
      recording.frame = (frame) => {
        const id = `matrix-${++lastId}`
        say({ ...frame, id })
        return until('an answer', () => answers.get(id))
      }
      recording.acknowledge = (text) => (answer = text)
      await until(
        'the subscriptions',
        () => (recording.session !== null && subscribed === channels.length) || recording.refused !== null,
      )
      return recording
    },
  }
}
