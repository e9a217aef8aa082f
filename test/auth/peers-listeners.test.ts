import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { createPeers } from '../../src/auth/peers.ts'
import type { ListenerHandlers, ListenerOptions } from '../../src/listeners/listener.ts'
import { NodeListener } from '../../src/listeners/node.ts'
import { loadUws, UwsListener } from '../../src/listeners/uws.ts'

const options: ListenerOptions = {
  websocketPath: '/ws',
  maxFrameBytes: 1024,
  hardBufferBytes: 1024,
  pingMs: 25_000,
  pongMs: 20_000,
  compression: false,
}

const api = { keys: ['the-key'], loopback: true }
const direct = createPeers({ trustedProxies: [], api, socket: null })
const proxied = createPeers({ trustedProxies: ['127.0.0.0/8'], api, socket: null })

/** Answers with who may publish, and who the client is behind a proxy on this machine. */
const handlers: ListenerHandlers<null> = {
  onRequest(request, response) {
    const answer = direct.mayPublish(request)
    const publisher = answer.ok ? answer.publisher.slice(0, 4) : answer.code
    response.reply(200, { Connection: 'close' }, `${publisher} ${proxied.clientAddress(request)}`)
  },
  onUpgrade: () => ({ accept: false, status: 404, body: '' }),
  onOpen() {},
  onMessage() {},
  onDropped() {},
  onDrain() {},
  onClose() {},
}

const uws = await loadUws()
for (const listener of [
  new NodeListener<null>(options),
  ...(uws === null ? [] : [new UwsListener<null>(uws, options)]),
]) {
  t.test(`on the ${listener.kind} listener, every header counts, also the second of a name`, async (t) => {
    t.teardown(() => listener.close())
    const address = await listener.listen({ host: '127.0.0.1', port: 0 }, handlers)
    const port = 'port' in address ? address.port : 0
    const ask = async (...headers: string[]): Promise<string> => {
      const socket = connect(port, '127.0.0.1')
      socket.write(`${['POST /publish HTTP/1.1', ...headers, 'Content-Length: 0'].join('\r\n')}\r\n\r\n`)
      const answer = await text(socket)
      return answer.slice(answer.indexOf('\r\n\r\n') + 4).replace(/^\w+\r\n|\r\n0\r\n\r\n$/g, '')
    }
    const host = `Host: localhost:${port}`
    t.equal(await ask(host), 'loop 127.0.0.1')
    t.equal(await ask(host, 'Authorization: Bearer the-key'), 'key: 127.0.0.1')
    t.equal(await ask(host, 'AUTHORIZATION: bearer guess'), 'unauthenticated 127.0.0.1')
    t.equal(await ask('Host: evil.example'), 'forbidden 127.0.0.1')
    t.equal(await ask(host, 'ORIGIN: http://evil.example'), 'forbidden 127.0.0.1')
    t.equal(await ask(host, 'Connection: keep-alive'), 'loop 127.0.0.1')
    t.equal(await ask(host, 'CONNECTION: Close'), 'forbidden 127.0.0.1')
    t.equal(await ask(host, 'Connection: keep-alive', 'Connection: close'), 'forbidden 127.0.0.1')
    t.equal(await ask(host, 'X-Forwarded-Proto: https'), 'forbidden 127.0.0.1')
    t.equal(await ask(host, 'X-Forwarded-For: 198.51.100.7'), 'forbidden 198.51.100.7')
    t.equal(
      await ask(host, 'X-Forwarded-For: 1.1.1.1', 'X-Forwarded-For: 198.51.100.7'),
      'forbidden 198.51.100.7',
      "the proxy's own header behind the client's",
    )
    t.notMatch(await ask(host, 'Host: evil.example'), 'loop')
    t.notMatch(await ask('Host: evil.example', host), 'loop')
  })
}
