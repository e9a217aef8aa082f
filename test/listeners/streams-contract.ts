import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { until } from '../support/wait.ts'
import type { MakeListener } from './contract.ts'
import { GET, RawClient } from './raw.ts'
import { fill, fillers, lines, open, type Opened, running } from './running.ts'

/** What every listener does with answers that go on and on. */
export function streamsContract(t: Test, name: string, make: MakeListener): void {
  t.test(`${name}: the head of a stream comes though nothing is written`, async (t) => {
    const { where } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('the head', () => client.head !== '')
    t.match(client.head, /^HTTP\/1\.1 200 OK\r\n/)
    t.match(client.head, /\r\ncontent-type: text\/event-stream\r\n/i)
    t.match(client.head, /\r\ntransfer-encoding: chunked\r\n/i)
    t.notMatch(client.head, /content-length/i)
  })

  t.test(`${name}: what is written in the turn of the opening, or in a cork, leaves together`, async (t) => {
    const { where, opened, parked } = await running(t, make)
    const client = await RawClient.connect(t, where, GET.replace('/a', '/park'))
    await until('a request', () => parked.length === 1)
    // Not within the handler of the request, where uWS puts everything together by itself.
    const { stream } = open(parked[0]!, opened)
    stream.write(Buffer.from('one\n'))
    await until('the first packet', () => client.packets.length > 0)
    t.match(String(client.packets[0]), /^HTTP\/1\.1 200[^]*\r\n\r\n4\r\none\n/)
    client.clear()
    stream.cork(() => {
      for (let index = 0; index < 10; index++) stream.write(Buffer.from(`line ${index}\n`))
    })
    await until('a packet', () => client.packets.length > 0)
    t.match(String(client.packets[0]), /line 0\n[^]*line 9\n/)
  })

  t.test(`${name}: what is written comes whole and in order, chunk by chunk`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    const { stream } = opened[0]!
    stream.write(Buffer.from('{"a":"ü😀"}\n'))
    stream.write(Buffer.alloc(0))
    stream.write(Buffer.from('after nothing\n'))
    await until('all', () => lines(client).length === 2)
    t.same(lines(client), ['{"a":"ü😀"}', 'after nothing'])
    // Also the end of the last chunk: there are clients that wait for it.
    t.match(client.text, /\n\r\n(1\r\n\n)?$/)
    t.equal(client.chunked.ended, false)
    stream.end()
    await until('the end', () => client.chunked.ended)
    t.equal(client.closed, false)
  })

  t.test(`${name}: one buffer for many streams is neither changed nor copied`, async (t) => {
    const { where, opened } = await running(t, make)
    const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(t, where, GET)))
    await until('all streams', () => opened.length === 20)
    const bytes = Buffer.from('shared\n')
    for (let round = 0; round < 3; round++) for (const { stream } of opened) stream.write(bytes)
    await until('all', () => clients.every((client) => lines(client).length === 3))
    t.equal(String(bytes), 'shared\n')
    // 40 clients who read nothing share what waits for them.
    for (const client of clients) client.socket.pause()
    await fill(opened.map(({ stream }) => stream))
    const before = process.memoryUsage().arrayBuffers
    const big = Buffer.alloc(1024 * 1024, 'x')
    for (const { stream } of opened) for (let round = 0; round < 20; round++) stream.write(big)
    t.ok(opened.every(({ stream }) => stream.bufferedBytes >= 20 * big.length))
    t.ok(process.memoryUsage().arrayBuffers - before < 10 * big.length)
    for (const { stream } of opened) stream.terminate()
  })

  t.test(`${name}: a reader that pauses: bytes wait, leave later, and all come in order`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    client.socket.pause()
    const one = opened[0]!
    const sent: string[] = []
    const write = (): void => {
      const line = `${sent.length} ${'x'.repeat(10 + ((sent.length * 7919) % 60_000))}`
      sent.push(line)
      one.stream.write(Buffer.from(`${line}\n`))
    }
    await until('a lot to wait', () => {
      for (let count = 0; count < 20; count++) write()
      return one.stream.bufferedBytes > 8 * 1024 * 1024
    })
    const drains = one.drains
    client.socket.resume()
    await until('all to leave', () => one.stream.bufferedBytes === 0)
    t.ok(one.drains > drains)
    write()
    one.stream.end()
    await until('the end', () => client.chunked.ended)
    t.strictSame(lines(client), sent)
    t.equal(one.closes, 1)
  })

  t.test(`${name}: what was written at once leaves though nothing follows`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    client.socket.pause()
    const one = opened[0]!
    const big = Buffer.alloc(20 * 1024 * 1024, 'x')
    one.stream.write(big)
    t.ok(one.stream.bufferedBytes > 0)
    client.socket.resume()
    await until('all to come', () => lines(client)[0]?.length === big.length)
    await until('nothing to wait', () => one.stream.bufferedBytes === 0)
    t.ok(one.drains > 0)
  })

  t.test(`${name}: a slow reader drives its writer by what waits`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    const one = opened[0]!
    const total = 3000
    let written = 0
    let most = 0
    const pump = (): void => {
      while (written < total && one.stream.bufferedBytes < 256 * 1024) {
        one.stream.write(Buffer.from(`${written++} ${'x'.repeat(5000)}\n`))
        most = Math.max(most, one.stream.bufferedBytes)
      }
      if (written === total) one.stream.end()
    }
    one.drained = pump
    const slow = setInterval(
      () => (client.socket.isPaused() ? client.socket.resume() : client.socket.pause()),
      5,
    )
    t.teardown(() => clearInterval(slow))
    pump()
    await until('the end', () => client.chunked.ended)
    t.equal(lines(client).length, total)
    t.strictSame(
      lines(client).map((line) => Number.parseInt(line, 10)),
      Array.from({ length: total }, (_value, index) => index),
    )
    t.ok(most < 512 * 1024, `${most} bytes waited`)
  })

  t.test(`${name}: an end with much waiting loses nothing, and the connection goes on`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    client.socket.pause()
    const one = opened[0]!
    const written = await fill([one.stream], 4 * 1024 * 1024)
    one.stream.end()
    one.stream.write(Buffer.from('after the end\n'))
    one.stream.end()
    t.equal(one.closes, 0)
    client.socket.resume()
    await until('the end', () => client.chunked.ended)
    t.equal(client.chunked.body.length - fillers(client), written)
    t.notMatch(client.text.slice(-100), 'after the end')
    await until('the close', () => one.closes === 1)
    client.clear()
    client.socket.write(GET)
    await until('another stream', () => opened.length === 2)
    opened[1]!.stream.write(Buffer.from('again\n'))
    await until('its bytes', () => lines(client).includes('again'))
    t.equal(one.closes, 1)
  })

  t.test(`${name}: who asks for it is closed with the end of the answer`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET.replace('Host', 'Connection: close\r\nHost'))
    await until('a stream', () => opened.length === 1)
    opened[0]!.stream.write(Buffer.from('last words\n'))
    opened[0]!.stream.end()
    // uWS would close any connection on which nothing happens for 10 s.
    await until('the close', () => client.closed, 5000)
    t.same(lines(client), ['last words'])
    t.ok(client.chunked.ended)
  })

  t.test(`${name}: terminate cuts, and is told once, later`, async (t) => {
    const { where, opened } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    const one = opened[0]!
    one.stream.write(Buffer.from('x\n'))
    one.stream.terminate()
    t.equal(one.closes, 0)
    one.stream.write(Buffer.from('never\n'))
    one.stream.terminate()
    one.stream.end()
    await until('the close', () => client.closed && one.closes === 1)
    t.equal(client.chunked.ended, false)
    t.notMatch(client.text, 'never')
  })

  t.test(
    `${name}: a client that vanishes from its stream: told once, and all is harmless then`,
    async (t) => {
      const { where, opened } = await running(t, make)
      const quiet = await RawClient.connect(t, where, GET)
      const busy = await RawClient.connect(t, where, GET)
      await until('both streams', () => opened.length === 2)
      busy.socket.pause()
      await fill([opened[0]!.stream, opened[1]!.stream].slice(1))
      quiet.socket.destroy()
      busy.socket.resetAndDestroy()
      await until('both closes', () => opened.every(({ closes }) => closes === 1))
      for (const { stream, response } of opened) {
        stream.write(Buffer.from('x'))
        let worked = 0
        stream.cork(() => {
          worked++
          stream.write(Buffer.from('x'))
        })
        t.equal(worked, 1)
        stream.end()
        stream.terminate()
        t.equal(stream.bufferedBytes, 0)
        t.ok(response.done)
        response.reply(200, {}, 'never')
      }
      await new Promise((resolve) => setImmediate(resolve))
      t.ok(opened.every(({ closes }) => closes === 1))
    },
  )

  t.test(`${name}: a stream may be ended or cut within its own drain, cork or close`, async (t) => {
    const { where, opened } = await running(t, make)
    const clients = await Promise.all(Array.from({ length: 3 }, () => RawClient.connect(t, where, GET)))
    await until('all streams', () => opened.length === 3)
    const [ends, cuts, corks] = opened as [Opened, Opened, Opened]
    for (const client of clients.slice(0, 2)) client.socket.pause()
    await fill([ends.stream, cuts.stream])
    ends.drained = () => ends.stream.end()
    cuts.drained = () => cuts.stream.terminate()
    corks.stream.cork(() => {
      corks.stream.write(Buffer.from('bye\n'))
      corks.stream.end()
      corks.stream.write(Buffer.from('never\n'))
    })
    for (const client of clients) client.socket.resume()
    await until('all closes', () => opened.every(({ closes }) => closes === 1))
    await until(
      'all ends',
      () => clients[0]!.chunked.ended && clients[1]!.closed && clients[2]!.chunked.ended,
    )
    t.same(lines(clients[2]!), ['bye'])
  })

  t.test(
    `${name}: a client that takes nothing is cut after a while; one that waits for nothing is not`,
    async (t) => {
      const { where, opened } = await running(t, make, { stallMs: 200 })
      const stalled = await RawClient.connect(t, where, GET)
      const ending = await RawClient.connect(t, where, GET)
      const quiet = await RawClient.connect(t, where, GET)
      await until('all streams', () => opened.length === 3)
      stalled.socket.pause()
      ending.socket.pause()
      await fill(opened.slice(0, 2).map(({ stream }) => stream))
      opened[1]!.stream.end()
      await until(
        'the stalled ones to be cut',
        () => opened[0]!.closes === 1 && opened[1]!.closes === 1,
        5000,
      )
      opened[2]!.stream.write(Buffer.from('still here\n'))
      await until('its bytes', () => lines(quiet).includes('still here'))
      t.equal(opened[2]!.closes, 0)
    },
  )

  t.test(`${name}: streams and waiting requests outlive stopAccepting, and end with close`, async (t) => {
    const { where, opened, parked, aborts, listener } = await running(t, make)
    const client = await RawClient.connect(t, where, GET)
    const waiting = await RawClient.connect(t, where, GET.replace('/a', '/park'))
    const other = await RawClient.connect(t, where, GET.replace('/a', '/park'))
    await until('all requests', () => opened.length === 1 && parked.length === 2)
    listener.stopAccepting()
    opened[0]!.stream.write(Buffer.from('still here\n'))
    parked[0]!.reply(200, {}, 'and here')
    await until('the bytes', () => lines(client).includes('still here') && waiting.text.endsWith('and here'))
    await listener.close()
    await until(
      'all ends',
      () => client.closed && other.closed && opened[0]!.closes === 1 && aborts.length === 1,
    )
    t.equal(client.chunked.ended, false)
  })

  t.test(`${name}: a unix socket carries streams`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'lm-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const { where, opened } = await running(t, make, {}, {}, join(folder, 's'))
    const client = await RawClient.connect(t, where, GET)
    await until('a stream', () => opened.length === 1)
    const one = opened[0]!
    client.socket.pause()
    const written = await fill([one.stream], 2 * 1024 * 1024)
    client.socket.resume()
    await until('all to leave', () => one.stream.bufferedBytes === 0)
    one.stream.end()
    await until('the end', () => client.chunked.ended)
    t.equal(client.chunked.body.length - fillers(client), written)
    const gone = await RawClient.connect(t, where, GET)
    await until('another stream', () => opened.length === 2)
    gone.socket.destroy()
    await until('the close', () => opened[1]!.closes === 1)
  })
}
