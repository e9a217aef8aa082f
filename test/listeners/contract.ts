import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type Socket as TcpSocket } from 'node:net'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type {
  Address,
  Listener,
  ListenerHandlers,
  ListenerOptions,
  Request,
  Socket,
} from '../../src/listeners/listener.ts'
import { until as waitUntil, within } from '../support/wait.ts'

const until = (probe: () => boolean): Promise<unknown> => waitUntil('what the test says', probe)

export interface State {
  readonly name: string
}

export type MakeListener = (options: ListenerOptions) => Promise<Listener<State>>

export const OPTIONS: ListenerOptions = {
  websocketPath: '/ws',
  maxFrameBytes: 1024,
  hardBufferBytes: 4 * 1024 * 1024,
  pingMs: 25_000,
  pongMs: 16_000,
  compression: false,
}

interface Running {
  readonly listener: Listener<State>
  readonly port: number
  readonly sockets: Socket<State>[]
  readonly messages: (string | null)[]
  readonly closes: number[]
  readonly dropped: Socket<State>[]
  client(path?: string, protocols?: string[]): Promise<Client>
}

interface Client {
  readonly socket: WebSocket
  readonly frames: string[]
  readonly closed: Promise<number>
}

/** What every listener does. */
export function listenerContract(t: Test, name: string, make: MakeListener): void {
  const running = async (
    t: Test,
    handlers: Partial<ListenerHandlers<State>> = {},
    options: Partial<ListenerOptions> = {},
    at = 0,
  ): Promise<Running> => {
    const listener = await make({ ...OPTIONS, ...options })
    const sockets: Socket<State>[] = []
    const messages: (string | null)[] = []
    const closes: number[] = []
    const dropped: Socket<State>[] = []
    const address = await listener.listen(
      { host: '127.0.0.1', port: at },
      {
        onRequest: (_request, response) => response.reply(200, {}, 'ok'),
        onUpgrade: () => ({ accept: true, state: { name: 'a' } }),
        onOpen: (socket) => sockets.push(socket),
        onMessage: (_socket, text) => messages.push(text),
        onDropped: (socket) => dropped.push(socket),
        onDrain: () => undefined,
        onClose: (_socket, code) => closes.push(code),
        ...handlers,
      },
    )
    t.teardown(() => listener.close())
    const { port } = address as Address & { port: number }
    return {
      listener,
      port,
      sockets,
      messages,
      closes,
      dropped,
      async client(path = '/ws', protocols = []) {
        const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols)
        const frames: string[] = []
        socket.on('message', (data) => frames.push((data as Buffer).toString()))
        const closed = new Promise<number>((resolve) => socket.once('close', resolve))
        t.teardown(() => socket.terminate())
        await once(socket, 'open')
        return { socket, frames, closed }
      },
    }
  }

  t.test(`${name}: a text message comes whole, in order, and as it was sent`, async (t) => {
    const { client, messages } = await running(t)
    const { socket } = await client()
    socket.send('{"a":"ü😀"}')
    socket.send('{"a":', { fin: false })
    socket.send('1}', { fin: true })
    await until(() => messages.length === 2)
    t.same(messages, ['{"a":"ü😀"}', '{"a":1}'])
  })

  t.test(`${name}: a binary message is told as such`, async (t) => {
    const { client, messages } = await running(t)
    const { socket } = await client()
    socket.send(Buffer.from([1, 2, 3]))
    await until(() => messages.length === 1)
    t.same(messages, [null])
  })

  t.test(`${name}: a message over the limit closes with 1009`, async (t) => {
    const { client, messages } = await running(t)
    const { socket, closed } = await client()
    socket.send('x'.repeat(OPTIONS.maxFrameBytes + 1))
    t.equal(await closed, 1009)
    t.same(messages, [])
  })

  t.test(`${name}: what is published on a topic comes to those who joined, in order`, async (t) => {
    const { client, sockets, listener } = await running(t)
    const one = await client()
    const two = await client()
    await until(() => sockets.length === 2)
    sockets[0]!.join('a')
    sockets[0]!.join('b')
    sockets[1]!.join('a')
    t.equal(listener.subscribers('a'), 2)
    for (let index = 0; index < 100; index++) listener.publish(index % 2 === 0 ? 'a' : 'b', String(index))
    await until(() => one.frames.length === 100 && two.frames.length === 50)
    t.same(
      one.frames,
      Array.from({ length: 100 }, (_value, index) => String(index)),
    )
    sockets[1]!.leave('a')
    listener.publish('a', 'later')
    await until(() => one.frames.length === 101)
    t.equal(two.frames.length, 50)
    t.equal(listener.subscribers('a'), 1)
  })

  t.test(`${name}: who joins in the turn of a publication gets only what comes after`, async (t) => {
    const { client, sockets, listener } = await running(t)
    const one = await client()
    const two = await client()
    await until(() => sockets.length === 2)
    sockets[0]!.join('a')
    listener.publish('a', 'before')
    sockets[1]!.send('backlog')
    sockets[1]!.join('a')
    listener.publish('a', 'after')
    await until(() => one.frames.length === 2 && two.frames.length === 2)
    t.same(one.frames, ['before', 'after'])
    t.same(two.frames, ['backlog', 'after'])
  })

  t.test(
    `${name}: what was published before leaving still comes, and before what is sent next`,
    async (t) => {
      const { client, sockets, listener } = await running(t)
      const { frames } = await client()
      await until(() => sockets.length === 1)
      sockets[0]!.join('a')
      listener.publish('a', '1')
      sockets[0]!.leave('a')
      listener.publish('a', 'not for it')
      sockets[0]!.send('2')
      await until(() => frames.length === 2)
      t.same(frames, ['1', '2'])
    },
  )

  t.test(`${name}: publishToOthers leaves its own socket out`, async (t) => {
    const { client, sockets } = await running(t)
    const one = await client()
    const two = await client()
    await until(() => sockets.length === 2)
    for (const socket of sockets) socket.join('a')
    sockets[0]!.publishToOthers('a', 'hello')
    sockets[0]!.send('end')
    await until(() => two.frames.length === 1 && one.frames.length === 1)
    t.same(one.frames, ['end'])
    t.same(two.frames, ['hello'])
  })

  t.test(`${name}: close says its code and nothing comes after it`, async (t) => {
    const { client, sockets, closes, listener, messages } = await running(t)
    const { socket, frames, closed } = await client()
    await until(() => sockets.length === 1)
    sockets[0]!.join('a')
    sockets[0]!.send('last')
    sockets[0]!.close(4450, 'too slow')
    listener.publish('a', 'never')
    sockets[0]!.send('never')
    sockets[0]!.join('b')
    sockets[0]!.close(4400, 'again')
    socket.send('late')
    t.equal(await closed, 4450)
    await until(() => closes.length === 1)
    t.same(frames, ['last'])
    t.same(messages, [])
    t.equal(listener.subscribers('a'), 0)
    t.equal(listener.subscribers('b'), 0)
  })

  t.test(`${name}: after a client has left, everything on its socket is harmless`, async (t) => {
    const { client, sockets, closes, listener } = await running(t)
    const { socket } = await client()
    await until(() => sockets.length === 1)
    const gone = sockets[0]!
    gone.join('a')
    socket.close(1000)
    await until(() => closes.length === 1)
    t.same(closes, [1000])
    gone.join('b')
    gone.leave('a')
    t.equal(gone.send('x'), false)
    gone.publishToOthers('a', 'x')
    gone.cork(() => gone.send('x'))
    gone.close(1000, '')
    gone.terminate()
    t.equal(gone.bufferedBytes, 0)
    t.equal(listener.subscribers('a'), 0)
    t.same(closes, [1000])
  })

  t.test(
    `${name}: a client that reads nothing: bytes wait, then frames are dropped and it is told`,
    async (t) => {
      const { client, sockets, dropped, listener } = await running(t)
      const { socket } = await client()
      await until(() => sockets.length === 1)
      socket.pause()
      sockets[0]!.join('a')
      const chunk = 'x'.repeat(64 * 1024)
      await until(() => {
        for (let index = 0; index < 16; index++) listener.publish('a', chunk)
        return dropped.length > 0
      })
      t.equal(dropped[0], sockets[0])
      t.ok(sockets[0]!.bufferedBytes > OPTIONS.hardBufferBytes)
      t.ok(sockets[0]!.bufferedBytes < 3 * OPTIONS.hardBufferBytes)
      sockets[0]!.terminate()
    },
  )

  t.test(`${name}: a refused upgrade is answered by HTTP`, async (t) => {
    const { port, sockets } = await running(t, {
      onUpgrade: () => ({ accept: false, status: 403, body: '{"error":{"code":"forbidden"}}' }),
    })
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }]
    t.equal(response.statusCode, 403)
    socket.on('error', () => undefined)
    socket.terminate()
    t.equal(sockets.length, 0)
  })

  t.test(`${name}: the upgrade sees the request, and chooses the subprotocol`, async (t) => {
    const seen: Record<string, string> = {}
    const { client } = await running(t, {
      onUpgrade: (request: Request) => {
        seen['path'] = request.path
        seen['query'] = request.query
        seen['address'] = request.address
        seen['protocol'] = request.header('sec-websocket-protocol')
        return { accept: true, state: { name: 'b' }, protocol: 'livemessage.v1' }
      },
    })
    const { socket } = await client('/ws?channel=a:b&x=%20', ['livemessage.v1', 'other'])
    t.equal(socket.protocol, 'livemessage.v1')
    t.match(seen, { path: '/ws', query: 'channel=a:b&x=%20', address: '127.0.0.1' })
    t.match(seen['protocol'], /^livemessage\.v1, ?other$/)
  })

  t.test(`${name}: no subprotocol is chosen when none was offered`, async (t) => {
    const { client } = await running(t)
    const { socket } = await client()
    t.equal(socket.protocol, '')
  })

  t.test(`${name}: a request is seen with all its parts and answered`, async (t) => {
    const { port } = await running(t, {
      onRequest: (request, response) => {
        const names: string[] = []
        request.eachHeader((header) => names.push(header))
        const { method, path, query } = request
        const test = request.header('x-test')
        request.readBody(100, (body) => {
          const answer = { method, path, query, test, listed: names.includes('x-test'), body: String(body) }
          response.reply(404, { 'Content-Type': 'application/json' }, JSON.stringify(answer))
          response.reply(200, {}, 'a second answer is nothing')
        })
      },
    })
    const response = await fetch(`http://127.0.0.1:${port}/a/b?c=1&d=%20`, {
      method: 'POST',
      headers: { 'X-Test': 'yes' },
      body: 'hello',
    })
    t.equal(response.status, 404)
    t.equal(response.headers.get('content-type'), 'application/json')
    t.same(await response.json(), {
      method: 'POST',
      path: '/a/b',
      query: 'c=1&d=%20',
      test: 'yes',
      listed: true,
      body: 'hello',
    })
  })

  t.test(`${name}: a request without a query has an empty one, and an empty body is empty`, async (t) => {
    const { port } = await running(t, {
      onRequest: (request, response) => {
        const { query } = request
        request.readBody(10, (body) => response.reply(200, {}, JSON.stringify([query, body?.length])))
      },
    })
    t.equal(await (await fetch(`http://127.0.0.1:${port}/`, { method: 'POST' })).text(), '["",0]')
  })

  t.test(`${name}: a body in pieces comes whole; one over the limit as null, once`, async (t) => {
    const bodies: (number | null)[] = []
    const { port } = await running(t, {
      onRequest: (request, response) => {
        request.readBody(100_000, (body) => {
          bodies.push(body === null ? null : body.length)
          response.reply(body === null ? 413 : 200, body === null ? { Connection: 'close' } : {}, 'x')
        })
      },
    })
    const url = `http://127.0.0.1:${port}/`
    t.equal((await fetch(url, { method: 'POST', body: 'x'.repeat(100_000) })).status, 200)
    const raw = await rawRequest(port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n')
    raw.write('x'.repeat(150_000))
    await until(() => raw.answer().startsWith('HTTP/1.1 413'))
    raw.end()
    t.same(bodies, [100_000, null])
  })

  t.test(`${name}: a client that goes away in the middle of its body leaves nothing behind`, async (t) => {
    let bodies = 0
    let done: (() => boolean) | null = null
    const { port } = await running(t, {
      onRequest: (request, response) => {
        done = () => response.done
        request.readBody(1000, () => bodies++)
      },
    })
    const raw = await rawRequest(port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nabc')
    await until(() => done !== null)
    raw.destroy()
    await until(() => done!())
    t.equal(bodies, 0)
  })

  t.test(`${name}: rubbish instead of HTTP, and of frames, ends that connection only`, async (t) => {
    const { client, port, messages } = await running(t)
    const good = await client()
    const rubbish = await rawRequest(port, '\u0000\u0001 nonsense\r\n\r\n')
    await rubbish.ended
    const raw = await rawRequest(
      port,
      'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    await until(() => raw.answer().includes('101 '))
    // An unmasked frame with reserved bits: no client may send it.
    raw.write(Buffer.from([0xf1, 0x05, 0x68, 0x65, 0x6c, 0x6c, 0x6f]))
    await raw.ended
    good.socket.send('still here')
    await until(() => messages.includes('still here'))
    t.same(messages, ['still here'])
  })

  t.test(`${name}: who is refused and doesn't close is let go all the same`, async (t) => {
    const { port } = await running(t, {
      onUpgrade: () => ({ accept: false, status: 403, body: '{}' }),
    })
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
    const gone = [
      letGo(port, `GET /ws HTTP/1.1\r\nHost: a\r\n${upgrade}`),
      letGo(port, `GET /elsewhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
      letGo(port, 'rubbish\r\n\r\n'),
    ]
    await Promise.all(gone)
    t.pass('nobody is held')
  })

  t.test(`${name}: a silent peer is pinged, and ended when no answer comes`, async (t) => {
    // uWS counts in steps of 4 s and waits 8 s at least.
    const { client, closes, port } = await running(t, {}, { pingMs: 4000, pongMs: 4000 })
    const alive = await client()
    const raw = await rawRequest(
      port,
      'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    let pinged = false
    alive.socket.on('ping', () => {
      pinged = true
    })
    await raw.ended
    await until(() => closes.length === 1)
    t.ok(pinged)
    t.equal(alive.socket.readyState, WebSocket.OPEN)
  })

  t.test(`${name}: a second listener on the same port is refused by name`, async (t) => {
    const { port } = await running(t)
    const other = await make(OPTIONS)
    t.teardown(() => other.close())
    await t.rejects(other.listen({ host: '127.0.0.1', port }, NOTHING), {
      code: 'PORT_TAKEN',
      message: new RegExp(`127\\.0\\.0\\.1:${port}`),
    })
  })

  t.test(`${name}: of two that start at the same moment one gets the port`, async (t) => {
    const { port, listener } = await running(t)
    await listener.close()
    const both = await Promise.all([make(OPTIONS), make(OPTIONS)])
    for (const one of both) t.teardown(() => one.close())
    const outcomes = await Promise.allSettled(
      both.map((one) => one.listen({ host: '127.0.0.1', port }, NOTHING)),
    )
    t.same(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
    t.match(
      outcomes.find(({ status }) => status === 'rejected'),
      { reason: { code: 'PORT_TAKEN' } },
    )
  })

  t.test(`${name}: the port of one that has ended its clients is free at once`, async (t) => {
    const { port, listener } = await running(t)
    await listener.close()
    for (let n = 0; n < 3; n++) {
      const { client, listener } = await running(t, {}, {}, port)
      const { closed } = await client()
      // The server's side of that connection is in TIME_WAIT then, for a minute.
      await listener.close()
      t.equal(await closed, 1006)
    }
  })

  t.test(`${name}: an address that is not this machine's is refused by name`, async (t) => {
    const listener = await make(OPTIONS)
    t.teardown(() => listener.close())
    await t.rejects(listener.listen({ host: '192.0.2.1', port: 0 }, NOTHING), { code: 'ADDRESS_UNAVAILABLE' })
  })

  t.test(`${name}: close ends every connection, twice is once, and no client can come`, async (t) => {
    const { client, listener, port } = await running(t)
    const { closed } = await client()
    listener.stopAccepting()
    await Promise.all([listener.close(), listener.close()])
    t.equal(await closed, 1006)
    await t.rejects(fetch(`http://127.0.0.1:${port}/`))
  })

  t.test(`${name}: a unix socket's file that a dead process left is taken, a live one is not`, async (t) => {
    const path = socketPath(t)
    await leaveSocketBehind(path)
    const first = await make(OPTIONS)
    t.teardown(() => first.close())
    await first.listen({ socket: path }, NOTHING)
    const second = await make(OPTIONS)
    t.teardown(() => second.close())
    await t.rejects(second.listen({ socket: path }, NOTHING), { code: 'PORT_TAKEN' })
  })

  t.test(`${name}: a unix socket carries requests and sockets`, async (t) => {
    const path = socketPath(t)
    const listener = await make(OPTIONS)
    t.teardown(() => listener.close())
    let address: string | null = null
    const opened: Socket<State>[] = []
    await listener.listen(
      { socket: path },
      {
        ...NOTHING,
        onUpgrade: (request) => {
          address = request.address
          return { accept: true, state: { name: 'u' } }
        },
        onOpen: (socket) => opened.push(socket),
      },
    )
    const socket = new WebSocket(`ws+unix:${path}:/ws`)
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    t.equal(address, '')
    await until(() => opened.length === 1)
    opened[0]!.send('hello')
    const [data] = (await once(socket, 'message')) as [Buffer]
    t.equal(String(data), 'hello')
  })
}

const NOTHING: ListenerHandlers<State> = {
  onRequest: (_request, response) => response.reply(200, {}, ''),
  onUpgrade: () => ({ accept: true, state: { name: 'x' } }),
  onOpen: () => undefined,
  onMessage: () => undefined,
  onDropped: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
}

/** Short: a socket's path has room for 107 bytes. */
function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'lm-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 's')
}

/** A process that is killed leaves the file of its socket. */
async function leaveSocketBehind(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.send('up'))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  await once(child, 'message')
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** A peer that never closes its side: resolves when the server has forgotten it, which a write then tells. */
async function letGo(port: number, text: string): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('error', () => undefined)
  socket.on('data', () => undefined)
  socket.write(text)
  const writing = setInterval(() => socket.readableEnded && socket.write('x'), 20)
  try {
    await within('the server to let go', closed, 15_000)
  } finally {
    clearInterval(writing)
    socket.destroy()
  }
}

interface Raw {
  write(bytes: string | Buffer): void
  end(): void
  destroy(): void
  answer(): string
  readonly ended: Promise<unknown>
}

async function rawRequest(port: number, text: string): Promise<Raw> {
  const socket: TcpSocket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
  socket.on('error', () => undefined)
  const ended = new Promise((resolve) => socket.once('close', resolve))
  socket.write(text)
  return {
    write: (bytes) => socket.write(bytes),
    end: () => socket.end(),
    destroy: () => socket.destroy(),
    answer: () => answer,
    ended,
  }
}
