// oxlint-disable no-console
/*
 * The control: bare uWebSockets.js that does the least which gives the same bytes. What a publication costs
 * here is what the library costs; the daemon's figures are given as a share of it.
 *
 *   node --import tsx bench/control.ts <port>
 */
import { App } from 'uWebSockets.js'
import type { HttpResponse, WebSocket } from 'uWebSockets.js'
import { HARD_BUFFER_BYTES, IDLE_SECONDS } from './support/limits.ts'

interface Frame {
  readonly type: string
  readonly id?: number
  readonly channel: string
  readonly data?: unknown
}

const port = Number(process.argv[2])
const decoder = new TextDecoder()
let session = 0

const app = App()
  .ws<object>('/ws', {
    compression: 0, // uWS.DISABLED, which its types leave out
    maxPayloadLength: 64 * 1024,
    maxBackpressure: HARD_BUFFER_BYTES,
    idleTimeout: IDLE_SECONDS,
    sendPingsAutomatically: true,
    open(ws) {
      const id = String(++session).padStart(22, '0')
      ws.send(`{"type":"welcome","session":"${id}","user":null,"ping":25000,"version":"0.0.0"}`)
    },
    message(ws, message) {
      const frame: Frame = JSON.parse(decoder.decode(message))
      handle(ws, frame)
    },
  })
  .post('/publish', (res, req) => {
    const channel = req.getQuery('channel') ?? ''
    readBody(res, (body) => {
      JSON.parse(body)
      publish(channel, body)
      res.writeHeader('content-type', 'application/json').end('{"id":null}')
    })
  })
  .listen('127.0.0.1', port, (socket) => {
    if (socket) return
    console.error(`control: port ${port} is taken`)
    process.exit(1)
  })

function handle(ws: WebSocket<object>, frame: Frame): void {
  if (frame.type === 'subscribe') {
    ws.subscribe(frame.channel)
    ws.send(
      `{"type":"subscribed","id":${frame.id},"channel":"${frame.channel}","cursor":null,"recovered":false,"messages":[]}`,
    )
  } else if (frame.type === 'publish') {
    publish(frame.channel, JSON.stringify(frame.data))
    ws.send(`{"type":"reply","id":${frame.id},"data":{"id":null}}`)
  }
}

function publish(channel: string, json: string): void {
  app.publish(channel, `{"type":"message","channel":"${channel}","data":${json},"time":${Date.now()}}`)
}

function readBody(res: HttpResponse, done: (body: string) => void): void {
  let head: Buffer | null = null
  res.onAborted(() => {
    head = null
  })
  res.onData((chunk, isLast) => {
    if (isLast && !head) return done(decoder.decode(chunk))
    head = Buffer.concat([head ?? Buffer.alloc(0), Buffer.from(chunk)])
    if (isLast) done(head.toString())
  })
}
