import { connect as connectTo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import { openFolders } from '../../src/proxy/plan.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { planFor, type ProxyKind, startProxyOf } from '../support/proxy.ts'
import { until } from '../support/wait.ts'
import { ask, closedSpellings } from './asking.ts'
import { type Follower, TRANSPORTS } from './followers.ts'
import { KEY, startPair, startStub } from './nodes.ts'

/** What every proxy with our config does. */
export function testProxy(t: Test, kind: ProxyKind, server: TestPostgres): void {
  t.test(
    `${kind}: nodes are drained one after the other, and no client of any transport loses anything`,
    (t) => drain(t, kind, server),
  )

  t.test(`${kind}: an action is called, its errors and refused methods come through`, async (t) => {
    const pair = await startPair(t, server)
    const { url } = await startProxyOf(t, kind, { servers: pair.servers })
    const call = async (action: string): Promise<{ status: number; body: unknown }> => {
      const headers = { 'Content-Type': 'application/json' }
      const answer = await fetch(`${url}/call/chat/${action}`, { method: 'POST', headers, body: '{"a":1}' })
      return { status: answer.status, body: await answer.json() }
    }
    t.match(await call('echo'), { status: 200, body: { data: { a: 1 } } })
    t.match(await call('none'), { status: 404, body: { error: { code: 'unknown_action' } } })
    const refused = await fetch(`${url}/ws`, { method: 'DELETE' })
    t.match([refused.status, refused.headers.get('allow')], [405, /GET/])
    for (const method of ['TRACE', 'BREW']) {
      const { status } = await ask(url, { method, path: '/sse' })
      t.ok(status >= 400 && status <= 501, `${method}: ${status}`)
    }
  })

  t.test(
    `${kind}: a polling session of Socket.IO or Engine.IO stays with its node, over many connections`,
    async (t) => {
      const pair = await startPair(t, server, ENGINE_IO)
      const { url } = await startProxyOf(t, kind, { servers: pair.servers }, ENGINE_IO)
      for (let session = 0; session < 8; session++) {
        const path = `/${session % 2 === 0 ? 'socket.io' : 'engine.io'}/?EIO=4&transport=polling`
        const opened = await ask(url, { method: 'GET', path })
        const { sid } = JSON.parse(opened.body.slice(1)) as { sid: string }
        const headers = opened.cookie === '' ? {} : { Cookie: opened.cookie }
        // A pong: what any node but the session's own answers with 400.
        for (let i = 0; i < 5; i++) {
          const pong = await ask(url, { method: 'POST', path: `${path}&sid=${sid}`, headers, body: '3' })
          t.equal(pong.status, 200, pong.body)
        }
      }
    },
  )

  t.test(`${kind}: what is closed stays closed in every spelling, even to those with a key`, async (t) => {
    const daemon = await startDaemon(t, {
      ACTIONS: { chat: {} },
      channels: { chat: { access: 'public', history: {} } },
      trustedProxies: ['127.0.0.1'],
      api: { keys: [KEY] },
    })
    const stub = await startStub(t, 'stub')
    const real = await startProxyOf(t, kind, { servers: [`127.0.0.1:${daemon.port}`] })
    const seen = await startProxyOf(t, kind, { servers: [stub.server] })
    for (const path of closedSpellings()) {
      for (const method of ['GET', 'POST']) {
        const { status } = await ask(real.url, { method, path, headers: { Authorization: `Bearer ${KEY}` } })
        t.ok(status >= 400 && status < 500, `${method} ${path}: ${status}`)
        await ask(seen.url, { method, path })
      }
    }
    const { paths } = planFor()
    const folders = openFolders(paths)
    const leaked = stub.asked
      .map(({ url }) => url.split('?')[0]!)
      .filter((path) => !paths.exact.includes(path) && !folders.some((folder) => path.startsWith(folder)))
    t.same(leaked, [], 'nothing that is closed went to a node')
    t.notOk(stub.asked.some(({ url }) => /\/\.|\/\/|%|;|\\/.test(url.split('?')[0]!)))
    t.equal(
      (await daemon.publish('chat:x', 1, { authorization: `Bearer ${KEY}` })).status,
      200,
      'beside it, it is open',
    )
  })

  t.test(`${kind}: the client's address is the real one, whatever it says of itself`, async (t) => {
    const pair = await startPair(t, server)
    const proxy = await startProxyOf(t, kind, { servers: pair.servers })
    const headers = {
      'X-Forwarded-For': '6.6.6.6',
      Forwarded: 'for=6.6.6.6',
      'X-Real-IP': '6.6.6.6',
      'X-Forwarded-Host': 'evil.example',
      Proxy: 'http://evil.example',
    }
    await connect(t, proxy.ws, { localAddress: '127.0.0.9', headers })
    t.match(await pair.get(0, '/api/connections'), { count: 1, connections: [{ address: '127.0.0.9' }] })

    const stub = await startStub(t, 'stub')
    const { url } = await startProxyOf(t, kind, { servers: [stub.server] })
    await ask(url, { method: 'GET', path: '/poll?channel=a:b', headers })
    const passed = stub.asked[0]?.headers ?? {}
    t.equal(passed['x-forwarded-for'], '127.0.0.1')
    t.notMatch(JSON.stringify(passed), /6\.6\.6\.6|evil/)
  })

  t.test(
    `${kind}: a client's own PROXY header, and headers of 64 KiB, are refused; others go on`,
    async (t) => {
      const stub = await startStub(t, 'stub')
      const proxy = await startProxyOf(t, kind, { servers: [stub.server] })
      for (const head of [V2, Buffer.from('PROXY TCP4 6.6.6.6 127.0.0.1 1000 80\r\n')]) {
        const socket = connectTo(proxy.port, '127.0.0.1')
        socket.on('error', () => undefined)
        socket.write(
          Buffer.concat([head, Buffer.from('GET /poll HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')]),
        )
        t.notMatch(await text(socket).catch(() => ''), /stub/)
      }
      const { status } = await ask(proxy.url, {
        method: 'GET',
        path: '/poll',
        headers: { 'X-Long': 'x'.repeat(64 * 1024) },
      })
      t.ok(status >= 400 && status < 500, String(status))
      t.equal(stub.asked.length, 0)
      t.equal((await ask(proxy.url, { method: 'GET', path: '/poll' })).body, 'stub')
    },
  )

  t.test(`${kind}: over unix sockets`, async (t) => {
    const { startSocketNodes } = await import('./sockets.ts')
    const { servers, first } = await startSocketNodes(t)
    const proxy = await startProxyOf(t, kind, { servers })
    const client = await connect(t, proxy.ws, { headers: { 'X-Forwarded-For': '6.6.6.6' } })
    await client.subscribe('chat:x')
    t.match(
      first().map(({ address }) => address),
      ['127.0.0.1'],
    )
  })
}

async function drain(t: Test, kind: ProxyKind, server: TestPostgres): Promise<void> {
  const pair = await startPair(t, server, ENGINE_IO)
  const proxy = await startProxyOf(t, kind, { servers: pair.servers }, ENGINE_IO)
  const channel = `chat:${kind}`
  const followers: { name: string; follower: Follower }[] = TRANSPORTS.flatMap(({ name, follow }) =>
    Array.from({ length: 3 }, () => ({ name, follower: follow(proxy.url, channel) })),
  )
  const end = (): Promise<unknown> => Promise.all(followers.map(({ follower }) => follower.end()))

  // One number after the other, at the nodes that are there in turn.
  const alive = new Set([0, 1])
  let attempts = 0
  let published = 0
  const publishing = new AbortController()
  const publisher = (async () => {
    while (!publishing.signal.aborted) {
      // One that is just being stopped refuses: it is said at the next one, and by its key not twice.
      const nodes = [...alive]
      const index = nodes[attempts++ % nodes.length]!
      if ((await pair.publish(index, channel, published).catch(() => 0)) === 200) published++
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })()
  t.teardown(async () => {
    publishing.abort()
    await Promise.all([publisher, end()])
  })
  const upToDate = (): Promise<unknown> => {
    const newest = published
    return until('everybody to have what is published by now', () => {
      const late = followers.filter(({ follower }) => !((follower.heard.at(-1) ?? -1) >= newest))
      if (late.length === 0) return true
      throw new Error(
        late.map(({ name, follower }) => `${name} ${follower.heard.at(-1)} ${follower.faults[0]}`).join(),
      )
    })
  }
  await upToDate()
  for (const index of [0, 1]) {
    alive.delete(index)
    await pair.daemons[index]!.stop('restart')
    await upToDate()
    for (let i = 0; i < 10; i++) {
      const client = await connect(t, proxy.ws)
      await client.close()
    }
    await pair.restart(index)
    alive.add(index)
    await until('the proxy to send clients there again', async () => {
      const client = await connect(t, proxy.ws)
      const here = pair.daemons[index]!.daemon.hub?.get(String(client.welcome?.['session'])) !== undefined
      await client.close()
      return here
    })
  }
  publishing.abort()
  await publisher
  published--
  await upToDate()
  await end()
  for (const { name, follower } of followers) {
    const { heard, faults, stays } = follower
    // Where a node ends before it has answered, Apache closes the client's kept connection, for browsers then ask
    // again by themselves, which fetch of Node does not.
    const real = kind === 'apache' ? faults.filter((fault) => fault !== 'TypeError: fetch failed') : faults
    t.same(real, [], `${name}: nothing went wrong`)
    const first = heard[0] ?? 0
    t.same(
      heard,
      Array.from({ length: published + 1 - first }, (_, index) => first + index),
      `${name}: every number once`,
    )
    t.ok(stays > 1, `${name}: it was sent to another node`)
  }
}

/** Served only where it is asked for. */
const ENGINE_IO: TestConfig = { engineio: {} }

/** A PROXY header, version 2, that names 6.6.6.6. */
const V2 = Buffer.concat([
  Buffer.from('0d0a0d0a000d0a515549540a', 'hex'),
  Buffer.from('2111000c', 'hex'),
  Buffer.from([6, 6, 6, 6, 127, 0, 0, 1, 3, 232, 0, 80]),
])
