// oxlint-disable no-console
/*
 * The control: bare uWebSockets.js that does the least which gives the same bytes. What a publication costs
 * here is what the library costs; the daemon's figures are given as a share of it. With a database it keeps what is
 * published by HTTP, as plainly as can be.
 *
 *   node --import tsx bench/control.ts <port> [<database>]
 */
import { App } from 'uWebSockets.js'
import { Server } from 'socket.io'
import type { HttpResponse, WebSocket } from 'uWebSockets.js'
import { openJournal } from './control-journal.ts'
import type { Kept } from './control-journal.ts'
import { CALLER, HARD_BUFFER_BYTES, IDLE_SECONDS } from './support/limits.ts'

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

/** Who is on which channel, beside those for whom the library knows. */
const streams = new Map<string, Set<HttpResponse>>()
const parked = new Map<string, Set<HttpResponse>>()
const rooms = new Set<string>()
/** Nothing can be sent on them any more. */
const gone = new WeakSet<object>()
/** The newest publications, for those who poll. */
const recent: { position: number; channel: string; message: string }[] = []
let published = 0

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
  .ws<object>('/echo', {
    maxPayloadLength: 64 * 1024,
    idleTimeout: IDLE_SECONDS,
    message(ws, message, isBinary) {
      ws.send(message, isBinary)
    },
  })
  .ws<object>('/update', {
    maxPayloadLength: 64 * 1024,
    idleTimeout: IDLE_SECONDS,
    close(ws) {
      gone.add(ws)
    },
    message(ws, message) {
      const { id, data }: { id: number; data: { id: number } } = JSON.parse(decoder.decode(message))
      void update(ws, id, data.id)
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
  .get('/sse', (res, req) => {
    const channel = req.getQuery('channel') ?? ''
    const set = setOf(streams, channel)
    res.onAborted(() => set.delete(res))
    res.writeHeader('content-type', 'text/event-stream')
    res.write('event: welcome\ndata: {}\n\n')
    set.add(res)
  })
  .get('/poll', (res, req) => {
    const channel = req.getQuery('channel') ?? ''
    const since = req.getQuery('since')?.slice(EPOCH.length + 1)
    const missed = since === undefined ? [] : recent.filter((one) => one.position > Number(since))
    if (since === undefined || missed.length > 0) {
      const messages = missed.filter((one) => one.channel === channel).map(({ message }) => message)
      res.writeHeader('content-type', 'application/json').end(answer(messages.join(',')))
      return
    }
    const set = setOf(parked, channel)
    res.onAborted(() => set.delete(res))
    set.add(res)
  })
  .listen('127.0.0.1', port, (socket) => {
    if (socket) return
    console.error(`control: port ${port} is taken`)
    process.exit(1)
  })

const io = new Server({ transports: ['websocket'], perMessageDeflate: false })
io.attachApp(app)
io.of(/^\/[a-z]+$/).on('connection', (client) => {
  client.on('subscribe', (rest: string, ack: (answer: object) => void) => {
    const channel = `${client.nsp.name.slice(1)}:${rest}`
    void client.join(channel)
    rooms.add(channel)
    ack({ channel })
  })
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

function publish(channel: string, json: string, position = String(++published)): void {
  const id = journal === null ? '' : `"id":"${EPOCH}-${position}",`
  const message = `{"channel":"${channel}",${id}"data":${json},"time":${Date.now()}}`
  app.publish(channel, `{"type":"message",${message.slice(1)}`)
  const feeds = streams.get(channel)
  if (feeds !== undefined) {
    const block = Buffer.from(`event: message\ndata: ${message}\n\n`)
    // Corked: each part of a chunk would be a system call of its own otherwise, at a quarter of the speed. Not within
    // a WebSocket's handler, for there that socket is, and nothing else can be.
    setImmediate(() => {
      for (const res of feeds) res.cork(() => void res.write(block))
    })
  }
  recent.push({ position: published, channel, message })
  if (recent.length > 100) recent.shift()
  const waiting = parked.get(channel)
  if (waiting !== undefined) {
    parked.delete(channel)
    const body = answer(message)
    for (const res of waiting) res.writeHeader('content-type', 'application/json').end(body)
  }
  if (rooms.has(channel)) {
    const [subsystem = ''] = channel.split(':')
    io.of(`/${subsystem}`)
      .to(channel)
      .emit('message', { channel, data: JSON.parse(json), time: Date.now() })
  }
}

/** The statement of `messages.read`, as plainly as can be. */
async function update(ws: WebSocket<object>, id: number, message: number): Promise<void> {
  const { rowCount } = await journal!.query(
    'UPDATE livemessage_messages.message SET read = true WHERE id = $1 AND to_user = $2',
    [message, CALLER],
  )
  if (!gone.has(ws)) ws.send(`{"type":"reply","id":${id},"data":{"success":${rowCount === 1}}}`)
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

function setOf(sets: Map<string, Set<HttpResponse>>, channel: string): Set<HttpResponse> {
  let set = sets.get(channel)
  if (set === undefined) sets.set(channel, (set = new Set()))
  return set
}

function answer(messages: string): string {
  return `{"cursor":"${EPOCH}-${published}","recovered":true,"lost":[],"messages":[${messages}]}`
}
