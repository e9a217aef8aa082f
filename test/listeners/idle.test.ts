import t from 'tap'
import { createListener } from '../../src/listeners/create.ts'
import type { Response, ResponseStream } from '../../src/listeners/listener.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { until } from '../support/wait.ts'
import { OPTIONS, type State } from './contract.ts'
import { GET, RawClient } from './raw.ts'

/** Longer than the 8 to 12 s after which uWS closes a connection on which it waits for something. */
const LONG_MS = 13_000

const log = createLogger({ level: 'silent' })

t.jobs = 2

for (const kind of ['uws', 'node'] as const) {
  t.test(`${kind}: nothing need be written for a request or a stream to live`, async (t) => {
    const listener = await createListener<State>(kind, OPTIONS, log)
    t.teardown(() => listener.close())
    const streams: ResponseStream[] = []
    const parked: Response[] = []
    let gone = 0
    const address = await listener.listen(
      { host: '127.0.0.1', port: 0 },
      {
        onRequest(request, response) {
          const park = (): void => {
            response.onAbort(() => gone++)
            parked.push(response)
          }
          if (request.path === '/park') park()
          else if (request.path === '/post') request.readBody(10, park)
          else {
            const stream = response.stream(
              200,
              {},
              { onDrain: () => undefined, onClose: () => gone++ },
              Buffer.from('\n'),
            )
            streams.push(stream!)
          }
        },
        onUpgrade: () => ({ accept: false, status: 404, body: '' }),
        onOpen: () => undefined,
        onMessage: () => undefined,
        onDropped: () => undefined,
        onDrain: () => undefined,
        onClose: () => undefined,
      },
    )
    const where = { port: (address as { port: number }).port }
    const waiting = [
      await RawClient.connect(t, where, GET.replace('/a', '/park')),
      await RawClient.connect(t, where, 'POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}'),
    ]
    const listening: RawClient[] = []
    for (let index = 0; index < 3; index++) {
      listening.push(await RawClient.connect(t, where, GET))
      await until('a stream', () => streams.length === index + 1)
    }
    await until('the requests', () => parked.length === 2)
    // One never had anything to say, one was full and has drained, one was full within a cork.
    const [, full, corked] = streams as [ResponseStream, ResponseStream, ResponseStream]
    for (const client of listening.slice(1)) client.socket.pause()
    const small = Buffer.alloc(1000, '\n')
    await until('both to be full', () => {
      for (let count = 0; count < 500; count++) {
        if (full.bufferedBytes === 0) full.write(small)
        if (corked.bufferedBytes === 0) corked.cork(() => corked.write(small))
      }
      return full.bufferedBytes > 0 && corked.bufferedBytes > 0
    })
    for (const client of listening) client.socket.resume()
    await until('both to have drained', () => full.bufferedBytes === 0 && corked.bufferedBytes === 0)
    for (const client of listening) client.clear()

    await new Promise((resolve) => setTimeout(resolve, LONG_MS))
    t.equal(gone, 0)
    for (const stream of streams) stream.write(Buffer.from('still here'))
    for (const response of parked) response.reply(200, {}, 'an answer')
    await until('all bytes', () => listening.every(({ text }) => text.includes('still here')))
    await until('all answers', () => waiting.every(({ text }) => text.endsWith('an answer')))
  })
}
