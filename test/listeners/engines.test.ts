import t from 'tap'
import type { Test } from 'tap'
import { createListener } from '../../src/listeners/create.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { until } from '../support/wait.ts'
import { OPTIONS, type State } from './contract.ts'
import { GET, RawClient } from './raw.ts'

const log = createLogger({ level: 'silent' })

/** The command PROXY, TCP over IPv4, from 192.0.2.7:1000 to 192.0.2.8:2000. */
const PROXY_V2 = Buffer.concat([
  Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]),
  Buffer.from([0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 8, 0x03, 0xe8, 0x07, 0xd0]),
])

async function asked(t: Test, kind: 'uws' | 'node', bytes: string | Buffer): Promise<RawClient> {
  const listener = await createListener<State>(kind, OPTIONS, log)
  t.teardown(() => listener.close())
  const address = await listener.listen(
    { host: '127.0.0.1', port: 0 },
    {
      onRequest(request, response) {
        const stream = response.stream(200, {}, { onDrain: () => undefined, onClose: () => undefined })
        stream!.write(Buffer.from(`${request.address} by ${request.proxiedAddress}`))
        stream!.end()
      },
      onUpgrade: () => ({ accept: false, status: 404, body: '' }),
      onOpen: () => undefined,
      onMessage: () => undefined,
      onDropped: () => undefined,
      onDrain: () => undefined,
      onClose: () => undefined,
    },
  )
  const client = await RawClient.connect(t, { port: (address as { port: number }).port }, bytes)
  await until('the answer', () => client.head !== '' && (client.closed || client.chunked.ended))
  return client
}

// Where the engines differ: what proxies must be told.

t.test('HTTP/1.0: uWS refuses it with 505, node streams until the end of the connection', async (t) => {
  const request = 'GET / HTTP/1.0\r\nHost: a\r\n\r\n'
  t.match((await asked(t, 'uws', request)).text, /^HTTP\/1\.1 505 /)
  const { text } = await asked(t, 'node', request)
  t.match(text, /^HTTP\/1\.1 200 OK\r\n/)
  t.notMatch(text, /transfer-encoding/i)
  t.match(text, /\r\n\r\n127\.0\.0\.1 by $/)
})

t.test('a PROXY v2 header: uWS reads it, node refuses it with 400', async (t) => {
  const request = Buffer.concat([PROXY_V2, Buffer.from(GET)])
  t.equal(String((await asked(t, 'uws', request)).chunked.body), '127.0.0.1 by 192.0.2.7')
  t.match((await asked(t, 'node', request)).text, /^HTTP\/1\.1 400 Bad Request\r\n/)
})
