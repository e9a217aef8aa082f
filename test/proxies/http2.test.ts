import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { WebSocket } from 'ws'
import { startDaemon } from '../support/daemon.ts'
import { PROXIES, startProxyOf } from '../support/proxy.ts'
import { until, within } from '../support/wait.ts'
import { KEY } from './nodes.ts'

const STREAMS = 10

for (const { kind, skip } of PROXIES) {
  t.test(
    `${kind}: ten SSE streams over one HTTP/2 connection, and a WebSocket over TLS`,
    { skip },
    async (t) => {
      const daemon = await startDaemon(t, {
        ACTIONS: { chat: {} },
        channels: { chat: { access: 'public', history: {} } },
        trustedProxies: ['127.0.0.1'],
        api: { keys: [KEY] },
      })
      const proxy = await startProxyOf(t, kind, { servers: [`127.0.0.1:${daemon.port}`], tls: true })
      const session = connectHttp2(proxy.url, { rejectUnauthorized: false })
      t.teardown(() => session.destroy())
      session.on('error', () => undefined)
      // mod_http2 works on six requests of a new connection at a time, and on more after some dozens were answered.
      const before = kind === 'apache' ? 64 : 0
      for (let i = 0; i < before; i++) await get(session, '/poll?channel=chat:x')
      const streams = Array.from({ length: STREAMS }, () => {
        const stream = session.request({ ':path': '/sse?channel=chat:x', accept: 'text/event-stream' })
        const state = { status: 0, text: '' }
        stream.on('response', (headers) => (state.status = Number(headers[':status'])))
        stream.setEncoding('utf8').on('data', (more: string) => (state.text += more))
        stream.on('error', () => undefined)
        return state
      })
      await until('every stream to be welcomed', () =>
        streams.every((state) => state.text.includes('event: welcome')),
      )
      t.equal(session.alpnProtocol, 'h2')
      t.same(new Set(streams.map(({ status }) => status)), new Set([200]))

      const socket = new WebSocket(`${proxy.ws}?channel=chat:x`, { rejectUnauthorized: false })
      t.teardown(() => socket.terminate())
      const frames: string[] = []
      socket.on('message', (bytes: Buffer) => frames.push(bytes.toString()))
      await until('the WebSocket to be subscribed', () =>
        frames.some((frame) => frame.includes('"subscribed"')),
      )

      await daemon.publish('chat:x', 'now', { authorization: `Bearer ${KEY}` })
      await until('everybody to have it', () => streams.every((state) => state.text.includes('"now"')))
      await until('the WebSocket too', () => frames.some((frame) => frame.includes('"now"')))
    },
  )

  t.test(`${kind}: plain HTTP is sent to TLS`, { skip }, async (t) => {
    const daemon = await startDaemon(t, {})
    const proxy = await startProxyOf(t, kind, { servers: [`127.0.0.1:${daemon.port}`], tls: true })
    const answer = await within('the answer', fetch(proxy.plain + '/sse?channel=a:b', { redirect: 'manual' }))
    t.equal(answer.status, 308)
    t.equal(answer.headers.get('location'), `${proxy.url}/sse?channel=a:b`, 'on the port that it has')
  })
}

/** A request that is answered at once. */
async function get(session: ClientHttp2Session, path: string): Promise<void> {
  const stream = session.request({ ':path': path })
  await within(path, text(stream))
}
