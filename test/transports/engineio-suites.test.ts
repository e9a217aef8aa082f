import t, { type Test } from 'tap'
import { startDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'
import { openSession, Raw } from './engineio-raw.ts'
import { ECHO } from './socketio-echo/config.ts'

/*
 * The cases of the public conformance suite of Engine.IO v4, against the config that docs/transports.md shows.
 */

for (const listener of ['uws', 'node'] as const) {
  void t.test(`${listener}: the suite's cases`, async (t) => {
    const start = async (times: object): Promise<string> => {
      const daemon = await startDaemon(t, { ...ECHO, engineio: { ...ECHO.engineio, ...times }, listener })
      return `${daemon.url}/engine.io/`
    }
    const base = await start({})
    const strict = `${base}?EIO=4`
    // Where a client must be in time, it has more of it than in the suite: other tests run beside this one.
    const patient = `${await start({ pong: '5s' })}?EIO=4`
    const http = `${await start({ ping: '20s' })}?EIO=4`
    const ws = webSocketOf(http)
    const at = (sid: string, place: string): string => `${place}&transport=polling&sid=${sid}`
    const post = (sid: string, body: string, place = http): Promise<Response> =>
      fetch(at(sid, place), { method: 'POST', body })
    const poll = async (sid: string, place = http): Promise<[number, string]> => {
      const response = await fetch(at(sid, place))
      return [response.status, await response.text()]
    }
    /** A WebSocket whose handshake is over. */
    const opened = async (t: Test): Promise<Raw> => {
      const raw = new Raw(t, ws)
      await raw.next()
      return raw
    }

    await t.test('handshake: polling and WebSocket open a session and tell the config', async (t) => {
      const polled = await fetch(`${strict}&transport=polling`)
      t.equal(polled.status, 200)
      const text = await polled.text()
      t.equal(text[0], '0')
      const told = JSON.parse(text.slice(1))
      t.type(told.sid, 'string')
      const expected = { upgrades: ['websocket'], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 }
      t.strictSame(told, { sid: told.sid, ...expected })
      const first = String(await new Raw(t, webSocketOf(strict)).next())
      const { sid, ...rest } = JSON.parse(first.slice(1))
      t.type(sid, 'string')
      t.strictSame(rest, { ...expected, upgrades: [] })
    })

    await t.test('handshake: wrong versions, transports and methods are refused', async (t) => {
      const wrong = ['transport=polling', 'EIO=abc&transport=polling', 'EIO=4', 'EIO=4&transport=abc']
      for (const query of wrong) {
        t.equal((await fetch(`${base}?${query}`)).status, 400, query)
        await new Raw(t, `${base.replace('http', 'ws')}?${query.replace('polling', 'websocket')}`).end()
      }
      for (const method of ['POST', 'PUT']) {
        t.equal((await fetch(`${strict}&transport=polling`, { method })).status, 400, method)
      }
    })

    await t.test('message: polling carries one, several, and binary ones as base64', async (t) => {
      for (const body of [
        '4hello',
        '4test1\x1e4test2\x1e4test3',
        '4hello\x1ebAQIDBA==',
        '4',
        '4€ \u{1f600}',
      ]) {
        const sid = await openSession(http)
        const response = await post(sid, body)
        t.strictSame([response.status, await response.text()], [200, 'ok'])
        t.strictSame(await poll(sid), [200, body])
      }
    })

    await t.test('message: what is no packet ends a polling session', async (t) => {
      const sid = await openSession(http)
      const status = await post(sid, 'abc').then(
        (response) => response.status,
        () => 400,
      )
      t.ok([200, 400].includes(status))
      t.equal((await poll(sid))[0], 400)
    })

    await t.test('message: two polls at once end the session', async (t) => {
      const sid = await openSession(http)
      const [first, second] = await Promise.all([
        poll(sid),
        new Promise((resolve) => setTimeout(resolve, 5)).then(() => poll(sid)),
      ])
      t.strictSame(first, [200, '1'])
      t.ok([400, 500].includes(second[0]), String(second[0]))
      t.equal((await poll(sid))[0], 400)
    })

    await t.test('message: a WebSocket carries text and binary ones; what is none ends it', async (t) => {
      const raw = await opened(t)
      raw.socket.send('4hello')
      t.equal(await raw.next(), '4hello')
      raw.socket.send(Uint8Array.from([1, 2, 3, 4]))
      t.same(await raw.next(), Buffer.from([1, 2, 3, 4]))
      raw.socket.send('4')
      t.equal(await raw.next(), '4')
      raw.socket.send('abc')
      await raw.end()
    })

    await t.test('heartbeat: who answers stays', async (t) => {
      const sid = await openSession(patient)
      const raw = new Raw(t, webSocketOf(patient))
      raw.socket.on('message', (data: Buffer) => {
        if (data.toString() === '2') raw.socket.send('3')
      })
      for (let round = 0; round < 3; round++) {
        t.strictSame(await poll(sid, patient), [200, '2'])
        t.equal((await post(sid, '3', patient)).status, 200)
      }
      await raw.next()
      raw.socket.send('4still here')
      t.equal(await raw.next(), '4still here')
    })

    await t.test('heartbeat: who does not answer is ended', async (t) => {
      const sid = await openSession(strict)
      const raw = new Raw(t, webSocketOf(strict))
      // Asking is no answer to a ping: only a packet of the client's is.
      await until('it is ended', async () => (await poll(sid, strict))[0] === 400)
      t.equal((await post(sid, '3', strict)).status, 400)
      await raw.end()
    })

    await t.test('close: a poll that waits is answered, and the session over', async (t) => {
      const sid = await openSession(http)
      const [polled] = await Promise.all([poll(sid), post(sid, '1')])
      t.strictSame(polled, [200, '6'])
      t.equal((await poll(sid))[0], 400)
      const raw = await opened(t)
      const before = performance.now()
      raw.socket.send('1')
      await raw.end()
      t.ok(performance.now() - before < 250, 'at once, not with the next ping')
    })

    await t.test('upgrade: from polling to a WebSocket, the waiting poll is answered', async (t) => {
      const sid = await openSession(http)
      const raw = await new Raw(t, `${ws}&sid=${sid}`).opened()
      raw.socket.send('2probe')
      t.equal(await raw.next(), '3probe')
      t.strictSame(await poll(sid), [200, '6'])
      raw.socket.send('5')
      raw.socket.send('4hello')
      t.equal(await raw.next(), '4hello')
    })

    await t.test('upgrade: polling and a second WebSocket come too late, the first goes on', async (t) => {
      const sid = await openSession(http)
      const raw = await new Raw(t, `${ws}&sid=${sid}`).opened()
      raw.socket.send('2probe')
      t.equal(await raw.next(), '3probe')
      raw.socket.send('5')
      raw.socket.send('4there')
      t.equal(await raw.next(), '4there')
      t.equal((await poll(sid))[0], 400)
      await new Raw(t, `${ws}&sid=${sid}`).end()
      raw.socket.send('4hello')
      t.equal(await raw.next(), '4hello')
    })
  })
}

function webSocketOf(http: string): string {
  return `${http.replace('http', 'ws')}&transport=websocket`
}
