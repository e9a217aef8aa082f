import t, { type Test } from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { HAPROXY, skipWithout } from '../support/packages.ts'
import { PROXIES, startProxyOf } from '../support/proxy.ts'
import { until } from '../support/wait.ts'
import { startStub } from './nodes.ts'

for (const { kind, skip } of PROXIES) {
  const what = `${kind}: a node that says it is draining gets nobody any more, though it would answer; later it does again`
  const drain = async (t: Test): Promise<void> => {
    const [one, two] = [await startStub(t, 'one'), await startStub(t, 'two')]
    const proxy = await startProxyOf(t, kind, { servers: [one.server, two.server] })
    const ask = async (): Promise<string> => (await fetch(`${proxy.url}/poll`)).text()
    const names = async (): Promise<string> =>
      [...new Set(await Promise.all(Array.from({ length: 12 }, ask)))].sort().join()
    await until('both to be asked', async () => (await names()) === 'one,two')
    one.draining = true
    await until('the other alone to be asked', async () => (await names()) === 'two')
    one.draining = false
    await until('both to be asked again', async () => (await names()) === 'one,two')
  }
  // nginx without its paid parts asks no node how it is: it learns from refusals.
  if (kind !== 'nginx') t.test(what, { skip }, drain)

  t.test(
    `${kind}: a node that is gone without a word costs its clients no failed request`,
    { skip },
    async (t) => {
      const [one, two] = [await startStub(t, 'one'), await startStub(t, 'two')]
      const proxy = await startProxyOf(t, kind, { servers: [one.server, two.server] })
      const ask = async (): Promise<number> => (await fetch(`${proxy.url}/poll`)).status
      for (let i = 0; i < 4; i++) t.equal(await ask(), 200)
      await one.stop()
      t.same(new Set(await Promise.all(Array.from({ length: 20 }, ask))), new Set([200]))
      for (let i = 0; i < 10; i++) t.equal(await ask(), 200)
    },
  )
}

t.test(
  'haproxy: send-proxy-v2 tells uWebSockets.js who the client is',
  { skip: skipWithout(HAPROXY) },
  async (t) => {
    const daemon = await startDaemon(t, {
      ACTIONS: { chat: {} },
      channels: { chat: { access: 'public', history: {} } },
      trustedProxies: ['127.0.0.1'],
      listener: 'uws',
    })
    const proxy = await startProxyOf(t, 'haproxy', {
      servers: [`127.0.0.1:${daemon.port}`],
      proxyProtocol: true,
    })
    const headers = { 'X-Forwarded-For': '6.6.6.6', 'X-Real-IP': '6.6.6.6', Forwarded: 'for=6.6.6.6' }
    for (const localAddress of ['127.0.0.8', '127.0.0.9']) {
      const client = await connect(t, proxy.ws, { headers, localAddress })
      const session = String(client.welcome?.['session'])
      t.equal(daemon.daemon.hub?.get(session)?.address, localAddress)
    }
  },
)
