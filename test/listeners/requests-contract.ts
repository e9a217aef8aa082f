import type { Test } from 'tap'
import type { Response } from '../../src/listeners/listener.ts'
import { collectGarbage } from '../support/garbage.ts'
import { until } from '../support/wait.ts'
import { type MakeListener, OPTIONS } from './contract.ts'
import { GET, RawClient } from './raw.ts'
import { HANDLERS, running } from './running.ts'

/** What every listener does with requests that wait, that come slowly, and that are too large. */
export function requestsContract(t: Test, name: string, make: MakeListener): void {
  t.test(`${name}: a HEAD request is answered with the head alone`, async (t) => {
    const { where, opened, parked } = await running(t, make)
    const client = await RawClient.connect(t, where, GET.replace('GET', 'HEAD'))
    await until('the head', () => client.head !== '' && opened.length === 1)
    opened[0]!.stream.write(Buffer.from('never\n'))
    await until('the close', () => opened[0]!.closes === 1)
    t.match(client.head, /^HTTP\/1\.1 200 OK\r\n[^]*content-type: text\/event-stream/i)
    client.socket.write(GET.replace('GET /a', 'HEAD /park'))
    await until('a request', () => parked.length === 1)
    client.clear()
    parked[0]!.reply(200, {}, 'four')
    await until('its head', () => client.head !== '')
    t.match(client.head, /\r\ncontent-length: 4\r\n/i)
    // Were there a body anywhere, this answer would not begin where it does.
    client.clear()
    client.socket.write(GET.replace('/a', '/park'))
    await until('a request', () => parked.length === 2)
    parked[1]!.reply(200, {}, 'body')
    await until('the body', () => client.text.endsWith('body'))
    t.match(client.text, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nbody$/)
  })

  t.test(`${name}: an answer without a body has none, and every status its words`, async (t) => {
    const { where, parked } = await running(t, make)
    const client = await RawClient.connect(t, where)
    for (const [status, words] of STATUSES) {
      client.clear()
      client.socket.write(GET.replace('/a', '/park'))
      await until('a request', () => parked.length === 1)
      parked.pop()!.reply(status, { 'X-A': 'b' }, status === 302 ? '' : '{}')
      await until('the answer', () => client.head !== '')
      t.ok(client.text.startsWith(`HTTP/1.1 ${status} ${words}\r\n`), client.text.slice(0, 40))
      t.match(client.head, /\r\nx-a: b\r\n/i)
      if (status !== 204 && status !== 304) continue
      t.notMatch(client.head, /content-length|transfer-encoding/i)
      t.equal(client.text, client.head)
    }
  })

  t.test(`${name}: a request that waits is answered later, and its connection used again`, async (t) => {
    const { where, parked, aborts } = await running(t, make)
    const client = await RawClient.connect(t, where)
    for (let round = 0; round < 5; round++) {
      client.clear()
      client.socket.write(GET.replace('/a', '/park'))
      await until('a request', () => parked.length === round + 1)
      t.equal(parked[round]!.done, false)
      await new Promise((resolve) => setImmediate(resolve))
      parked[round]!.reply(200, {}, `answer ${round}`)
      t.equal(parked[round]!.done, true)
      t.equal(parked[round]!.stream(200, {}, HANDLERS), null)
      await until('the answer', () => client.text.endsWith(`answer ${round}`))
    }
    client.socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(aborts.length, 0)
  })

  t.test(
    `${name}: a client that vanishes while its request waits: told once, nothing can be sent`,
    async (t) => {
      const { where, parked, aborts } = await running(t, make)
      const gone = await RawClient.connect(t, where, GET.replace('/a', '/park'))
      const half = await RawClient.connect(t, where, GET.replace('/a', '/park'))
      await until('both requests', () => parked.length === 2)
      gone.socket.destroy()
      // Who says that nothing more will come is taken for gone, as by all servers that don't do half-open.
      half.socket.end()
      await until('both aborts', () => aborts.length === 2)
      for (const response of parked) {
        t.ok(response.done)
        t.equal(response.stream(200, {}, HANDLERS), null)
        response.reply(200, {}, 'x')
        response.onAbort(() => t.fail('it has gone already'))
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
      t.equal(aborts.length, 2)
    },
  )

  t.test(`${name}: a thousand requests that were given up leave nothing behind`, async (t) => {
    const kept: WeakRef<object>[] = []
    let aborts = 0
    const { where } = await running(
      t,
      make,
      {},
      {
        onRequest(_request, response) {
          const state = { response, padding: 'x'.repeat(100) }
          kept.push(new WeakRef(state), new WeakRef(response))
          response.onAbort(() => {
            if (state.padding.length > 0) aborts++
          })
        },
      },
    )
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(t, where, GET)))
      await until('all requests', () => kept.length === (round + 1) * 200)
      for (const client of clients) client.socket.destroy()
      await until('all aborts', () => aborts === (round + 1) * 100)
    }
    await until('nothing to be left', () => {
      collectGarbage()
      // What the last events hold on the stack may still be there.
      return kept.filter((ref) => ref.deref() !== undefined).length <= 4
    })
  })

  t.test(`${name}: a body that never ends is answered with 408 and cut`, async (t) => {
    let bodies = 0
    let aborts = 0
    const { where, refused } = await running(
      t,
      make,
      { bodyMs: 200 },
      {
        onRequest(request, response) {
          response.onAbort(() => aborts++)
          request.readBody(1000, (body) => {
            bodies++
            response.reply(200, {}, String(body?.length))
          })
        },
      },
    )
    const slow = await RawClient.connect(t, where, POST)
    const silent = await RawClient.connect(t, where, POST)
    const writing = setInterval(() => slow.socket.write('x'), 20)
    t.teardown(() => clearInterval(writing))
    for (const client of [slow, silent]) {
      await until('to be cut', () => client.closed, 5000)
      t.match(client.text, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    }
    t.same(refused, [408, 408])
    t.equal(aborts, 2)
    t.equal(bodies, 0)
    const good = await RawClient.connect(t, where, POST)
    good.socket.write('x'.repeat(100))
    await until('its answer', () => good.text.endsWith('100'))
    // An answer that takes longer than a body may is none of the deadline's business.
    t.equal(bodies, 1)
  })

  t.test(`${name}: an answer may take longer than a body, read or not`, async (t) => {
    const waiting: Response[] = []
    const { where, refused } = await running(
      t,
      make,
      { bodyMs: 40 },
      {
        onRequest(request, response) {
          response.onAbort(() => undefined)
          if (request.path === '/read') request.readBody(1000, () => waiting.push(response))
          else waiting.push(response)
        },
      },
    )
    const clients = [
      await RawClient.connect(t, where, `${POST.replace('/a', '/read')}${'x'.repeat(100)}`),
      await RawClient.connect(t, where, `${POST}${'x'.repeat(100)}`),
    ]
    await until('both', () => waiting.length === 2)
    await new Promise((resolve) => setTimeout(resolve, 150))
    for (const response of waiting) response.reply(200, {}, 'late')
    await until('both answers', () => clients.every((client) => client.text.endsWith('late')))
    t.same(refused, [])
  })

  t.test(`${name}: headers of 12 KiB are read, of 20 and 64 KiB refused with 431`, async (t) => {
    const { where, parked } = await running(t, make)
    const request = (size: number): string =>
      `GET /park HTTP/1.1\r\nHost: a\r\nCookie: ${'x'.repeat(size * 1024)}\r\n\r\n`
    for (const pieces of [1, 8]) {
      const send = async (size: number): Promise<RawClient> => {
        const client = await RawClient.connect(t, where)
        const text = request(size)
        for (let at = 0; at < text.length; at += Math.ceil(text.length / pieces)) {
          client.socket.write(text.slice(at, at + Math.ceil(text.length / pieces)))
          await new Promise((resolve) => setTimeout(resolve, 2))
        }
        return client
      }
      const good = await send(12)
      await until('the request', () => parked.length === 1)
      parked.pop()!.reply(200, {}, 'ok')
      await until('the answer', () => good.text.endsWith('ok'))
      for (const size of [20, 64]) {
        const bad = await send(size)
        await until('the refusal', () => bad.closed)
        t.match(bad.text, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/)
      }
    }
    t.equal(parked.length, 0)
  })

  t.test(`${name}: the engine can be lent before listening`, async (t) => {
    const listener = await make(OPTIONS)
    t.teardown(() => listener.close())
    const { engine } = listener
    t.equal(engine.kind, listener.kind)
    if (engine.kind === 'uws') {
      const app = engine.app as {
        any(path: string, handler: (res: { end(body: string): void }) => void): void
      }
      app.any('/lent/', (res) => res.end('lent'))
    } else {
      // As Engine.IO does it: around the handlers that are there.
      const others = engine.server.listeners('request')
      engine.server.removeAllListeners('request')
      engine.server.on('request', (req, res) => {
        if (req.url === '/lent/') res.end('lent')
        else for (const other of others) other.call(engine.server, req, res)
      })
    }
    const address = await listener.listen(
      { host: '127.0.0.1', port: 0 },
      {
        onRequest: (_request, response) => response.reply(200, {}, 'own'),
        onUpgrade: () => ({ accept: true, state: { name: 'x' } }),
        onOpen: () => undefined,
        onMessage: () => undefined,
        onDropped: () => undefined,
        onDrain: () => undefined,
        onClose: () => undefined,
      },
    )
    const { port } = address as { port: number }
    t.equal(await (await fetch(`http://127.0.0.1:${port}/lent/`)).text(), 'lent')
    t.equal(await (await fetch(`http://127.0.0.1:${port}/other`)).text(), 'own')
  })
}

const POST = 'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n'

const STATUSES: readonly (readonly [number, string])[] = [
  [204, 'No Content'],
  [302, 'Found'],
  [304, 'Not Modified'],
  [405, 'Method Not Allowed'],
  [408, 'Request Timeout'],
  [413, 'Payload Too Large'],
  [415, 'Unsupported Media Type'],
  [426, 'Upgrade Required'],
  [429, 'Too Many Requests'],
  [431, 'Request Header Fields Too Large'],
  [502, 'Bad Gateway'],
  [504, 'Gateway Timeout'],
]
