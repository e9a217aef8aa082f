import t, { type Test } from 'tap'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { Raw } from './engineio-raw.ts'
import { ECHO } from './socketio-echo/config.ts'

/*
 * The cases of the public conformance suite of Socket.IO v5 with its part on Engine.IO v4, against the config that
 * docs/transports.md shows; those of Engine.IO alone are in engineio-suites.test.ts.
 */

for (const listener of ['uws', 'node'] as const) {
  void t.test(`${listener}: the suites' cases`, async (t) => {
    const daemon = await startDaemon(t, { ...ECHO, listener })
    const strict = placeOf(daemon)
    // Where a client must be in time, it has more of it than in the suites: other tests run beside this one.
    const patient = placeOf(
      await startDaemon(t, { ...ECHO, socketio: { ...ECHO.socketio, pong: '5s' }, listener }),
    )
    const { http, ws } = patient

    await t.test('handshake: polling and WebSocket open a session and tell the config', async (t) => {
      const polled = await fetch(`${strict.http}&transport=polling`)
      t.equal(polled.status, 200)
      const text = await polled.text()
      t.match(text, /^0\{/)
      const told = JSON.parse(text.slice(1))
      t.strictSame(told, {
        sid: told.sid,
        upgrades: ['websocket'],
        pingInterval: 300,
        pingTimeout: 200,
        maxPayload: 1_000_000,
      })
      const raw = new Raw(t, strict.ws)
      const opened = JSON.parse(String(await raw.next()).slice(1))
      t.strictSame({ ...opened, sid: '' }, { ...told, sid: '', upgrades: [] })
      t.equal(typeof opened.sid, 'string')
    })

    await t.test(
      'handshake: wrong versions, transports and methods are 400, and end a WebSocket',
      async (t) => {
        const base = `${daemon.url}/socket.io/`
        for (const query of [
          'transport=polling',
          'EIO=abc&transport=polling',
          'EIO=4',
          'EIO=4&transport=abc',
        ]) {
          t.equal((await fetch(`${base}?${query}`)).status, 400, query)
        }
        for (const method of ['POST', 'PUT']) {
          t.equal((await fetch(`${http}&transport=polling`, { method })).status, 400, method)
        }
        for (const query of [
          'transport=websocket',
          'EIO=abc&transport=websocket',
          'EIO=4',
          'EIO=4&transport=abc',
        ]) {
          await new Raw(t, `${base.replace('http', 'ws')}?${query}`).end()
        }
      },
    )

    await t.test('heartbeat: the server pings, and ends who does not answer', async (t) => {
      const sid = await poll(http)
      for (let round = 0; round < 3; round++) {
        t.equal(await (await fetch(`${http}&transport=polling&sid=${sid}`)).text(), '2')
        const pong = await fetch(`${http}&transport=polling&sid=${sid}`, { method: 'POST', body: '3' })
        t.equal(pong.status, 200)
      }
      const silent = await poll(strict.http)
      // Asking is no answer to a ping: only a packet of the client's is.
      const status = async () => (await fetch(`${strict.http}&transport=polling&sid=${silent}`)).status
      await until('it is ended', async () => (await status()) === 400)
      await new Raw(t, strict.ws).end()
    })

    await t.test('close: polling gets a noop and is over, a WebSocket is closed', async (t) => {
      const sid = await poll(http)
      const [polled] = await Promise.all([
        fetch(`${http}&transport=polling&sid=${sid}`),
        fetch(`${http}&transport=polling&sid=${sid}`, { method: 'POST', body: '1' }),
      ])
      t.equal(polled.status, 200)
      t.equal(await polled.text(), '6')
      t.equal((await fetch(`${http}&transport=polling&sid=${sid}`)).status, 400)
      const raw = new Raw(t, ws)
      await raw.next()
      raw.socket.send('1')
      await raw.end()
    })

    await t.test('upgrade: from polling to WebSocket, once, and polling is over', async (t) => {
      const sid = await poll(http)
      const raw = await new Raw(t, `${ws}&sid=${sid}`).opened()
      raw.socket.send('2probe')
      t.equal(await raw.next(), '3probe')
      raw.socket.send('5')
      t.equal((await fetch(`${http}&transport=polling&sid=${sid}`)).status, 400)
      await new Raw(t, `${ws}&sid=${sid}`).end()
    })

    for (const [namespace, prefix] of [
      ['the main namespace', ''],
      ['a custom namespace', '/custom,'],
    ] as const) {
      await t.test(`connect: to ${namespace}, with and without a payload`, async (t) => {
        for (const payload of ['', '{"token":"123"}']) {
          const raw = new Raw(t, ws)
          await raw.next()
          raw.socket.send(`40${prefix}${payload}`)
          const told = String(await raw.next())
          t.ok(told.startsWith(`40${prefix}{`), told)
          t.strictSame(Object.keys(JSON.parse(told.slice(2 + prefix.length))), ['sid'])
          t.equal(await raw.next(), `42${prefix}["auth",${payload === '' ? '{}' : payload}]`)
        }
      })
    }

    await t.test(
      'connect: an unknown namespace is refused; no handshake, or none in time, ends it',
      async (t) => {
        const raw = new Raw(t, ws)
        await raw.next()
        raw.socket.send('40/random')
        t.equal(await raw.next(), '44/random,{"message":"Invalid namespace"}')
        const wrong = new Raw(t, ws)
        await wrong.next()
        wrong.socket.send('4abc')
        await wrong.end()
        const late = new Raw(t, ws)
        late.socket.on('message', (data: Buffer) => {
          if (data.toString() === '2') late.socket.send('3')
        })
        await late.end()
      },
    )

    await t.test('disconnect: from one namespace, the other goes on', async (t) => {
      const raw = await inMain(t, ws)
      raw.socket.send('40/custom')
      await raw.next()
      await raw.next()
      raw.socket.send('41/custom')
      raw.socket.send('42["message","message to main namespace"]')
      t.equal(await raw.next(), '42["message-back","message to main namespace"]')
      raw.socket.send('41')
      await raw.end()
    })

    await t.test('message: text and binary, with and without acknowledgement', async (t) => {
      const raw = await inMain(t, ws)
      raw.socket.send('42["message",1,"2",{"3":[true]}]')
      t.equal(await raw.next(), '42["message-back",1,"2",{"3":[true]}]')
      raw.socket.send('42456["message-with-ack",1,"2",{"3":[false]}]')
      t.equal(await raw.next(), '43456[1,"2",{"3":[false]}]')
      const two = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
      const parts = [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])]
      raw.socket.send(`452-["message",${two}]`)
      for (const part of parts) raw.socket.send(part)
      t.equal(await raw.next(), `452-["message-back",${two}]`)
      for (const part of parts) t.same(await raw.next(), part)
      raw.socket.send(`452-789["message-with-ack",${two}]`)
      for (const part of parts) raw.socket.send(part)
      t.equal(await raw.next(), `462-789[${two}]`)
      for (const part of parts) t.same(await raw.next(), part)
    })

    await t.test('message: unknown types, payloads and ids that are none end the connection', async (t) => {
      for (const packet of ['4abc', '42{}', '42abc["message-with-ack",1,"2",{"3":[false]}]']) {
        const raw = await inMain(t, ws)
        raw.socket.send(packet)
        await raw.end()
      }
    })
  })
}

function placeOf({ url }: TestDaemon): { readonly http: string; readonly ws: string } {
  const http = `${url}/socket.io/?EIO=4`
  return { http, ws: `${http.replace('http', 'ws')}&transport=websocket` }
}

/** Opens a polling session. */
async function poll(http: string): Promise<string> {
  const response = await fetch(`${http}&transport=polling`)
  return JSON.parse((await response.text()).slice(1)).sid
}

/** A connection that has joined the main namespace. */
async function inMain(t: Test, ws: string): Promise<Raw> {
  const raw = new Raw(t, ws)
  await raw.next()
  raw.socket.send('40')
  await raw.next()
  await raw.next()
  return raw
}
