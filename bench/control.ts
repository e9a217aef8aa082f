// oxlint-disable no-console
/*
 * The control: bare uWebSockets.js that does the least which gives the same bytes. What a publication costs
 * here is what the library costs; the daemon's figures are given as a share of it. With a database it keeps what is
 * published by HTTP, as plainly as can be.
 *
 *   node --import tsx bench/control.ts <port> [<database>]
 */
import { App } from 'uWebSockets.js'
import type { HttpResponse, WebSocket } from 'uWebSockets.js'
import { openJournal } from './control-journal.ts'
import type { Kept } from './control-journal.ts'
import { HARD_BUFFER_BYTES, IDLE_SECONDS } from './support/limits.ts'

interface Frame {
  readonly type: string
  readonly id?: number
  readonly channel: string
  readonly data?: unknown
  readonly since?: string
}

/** As long as the daemon's. */
const EPOCH = '000000000000'

const port = Number(process.argv[2])
const decoder = new TextDecoder()
let session = 0

const database = process.argv[3]
const journal = database === undefined ? null : await openJournal(database, publish)

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
      if (journal) {
        void keep(res, channel, body)
      } else {
        publish(channel, body)
        res.writeHeader('content-type', 'application/json').end('{"id":null}')
      }
    })
  })
  .listen('127.0.0.1', port, (socket) => {
    if (socket) return
    console.error(`control: port ${port} is taken`)
    process.exit(1)
  })

function handle(ws: WebSocket<object>, frame: Frame): void {
  if (frame.type === 'subscribe' && frame.since !== undefined) {
    void recover(ws, frame, frame.since)
  } else if (frame.type === 'subscribe') {
    ws.subscribe(frame.channel)
    ws.send(
      `{"type":"subscribed","id":${frame.id},"channel":"${frame.channel}","cursor":null,"recovered":false,"messages":[]}`,
    )
  } else if (frame.type === 'publish') {
    publish(frame.channel, JSON.stringify(frame.data))
    ws.send(`{"type":"reply","id":${frame.id},"data":{"id":null}}`)
  }
}

function publish(channel: string, json: string, position?: string): void {
  const id = position === undefined ? '' : `"id":"${EPOCH}-${position}",`
  app.publish(channel, `{"type":"message","channel":"${channel}",${id}"data":${json},"time":${Date.now()}}`)
}

async function keep(res: HttpResponse, channel: string, json: string): Promise<void> {
  let aborted = false
  res.onAborted(() => {
    aborted = true
  })
  const position = await journal!.append(channel, json)
  publish(channel, json, position)
  if (aborted) return
  res.cork(() => {
    res.writeHeader('content-type', 'application/json').end(`{"id":"${EPOCH}-${position}"}`)
  })
}

async function recover(ws: WebSocket<object>, { id, channel }: Frame, since: string): Promise<void> {
  const kept = await journal!.since(channel, since.slice(EPOCH.length + 1))
  const messages = kept.map((one) => messageOf(channel, one)).join(',')
  ws.subscribe(channel)
  ws.send(
    `{"type":"subscribed","id":${id},"channel":"${channel}","cursor":"${since}","recovered":true,"messages":[${messages}]}`,
  )
}

function messageOf(channel: string, { position, data }: Kept): string {
  return `{"channel":"${channel}","id":"${EPOCH}-${position}","data":${data},"time":${Date.now()}}`
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
