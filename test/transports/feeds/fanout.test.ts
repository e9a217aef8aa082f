import t, { type Test } from 'tap'
import type { ResponseStream, StreamHandlers } from '../../../src/listeners/listener.ts'
import type { ServerFrame } from '../../../src/protocol/frames.ts'
import { encodeMessage } from '../../../src/protocol/encode.ts'
import { FeedFanout } from '../../../src/transports/feeds/fanout.ts'
import { NdjsonFormat } from '../../../src/transports/feeds/lines.ts'
import { type FeedDependencies, FeedLink } from '../../../src/transports/feeds/link.ts'
import type { Arrival } from '../../../src/transports/requests/arrival.ts'
import { SseFormat } from '../../../src/transports/feeds/sse.ts'
import { Writer } from '../../../src/transports/feeds/writer.ts'
import { until } from '../../support/wait.ts'

/** A stream that keeps what it is given. */
class Sink implements ResponseStream {
  readonly writes: Uint8Array[] = []
  bufferedBytes = 0
  ended = false
  write(bytes: Uint8Array): void {
    this.writes.push(bytes)
  }
  cork(work: () => void): void {
    work()
  }
  end(): void {
    this.ended = true
  }
  terminate(): void {
    this.ended = true
  }
  get text(): string {
    return this.writes.map((bytes) => Buffer.from(bytes).toString()).join('')
  }
}

interface Feed {
  readonly link: FeedLink
  readonly sink: Sink
  readonly handlers: () => StreamHandlers
  readonly refused: unknown[]
  readonly left: number[]
  drains: number
}

function setup(t: Test, quietMs = 60_000) {
  const fanout = new FeedFanout({ quietMs })
  fanout.start()
  t.teardown(() => fanout.stop())
  let head = 0
  const deps: FeedDependencies = {
    fanout,
    hub: { sending: () => undefined },
    cursor: () => `e-${head}`,
    secretOf: () => 'a secret',
  }
  const writers = { sse: new Writer(new SseFormat(() => 2000)), lines: new Writer(new NdjsonFormat()) }
  const feed = (writer: Writer = writers.sse, open = true): Feed => {
    const sink = new Sink()
    let handlers: StreamHandlers | null = null
    const made: { link?: FeedLink; drains: number } = { drains: 0 }
    const refused: unknown[] = []
    const left: number[] = []
    const arrival = {
      headers: {},
      client: { onDrain: () => made.drains++, subscriptions: new Map([['chat:a', 'policy']]) },
      response: {
        stream: (_status: number, _headers: object, given: StreamHandlers) => {
          handlers = given
          return sink
        },
      },
      refuseByClose: (...args: unknown[]) => refused.push(args),
      leave: (code: number) => left.push(code),
    } as unknown as Arrival
    const link = new FeedLink(deps, writer, arrival)
    if (open) {
      link.open()
      sink.writes.length = 0
    }
    return Object.assign(made, { link, sink, refused, left, handlers: () => handlers! })
  }
  return { fanout, writers, feed, setHead: (position: number) => (head = position) }
}

function message(position: number, channel = 'chat:a'): ServerFrame {
  return { type: 'message', message: encodeMessage(channel, `e-${position}`, String(position), 1) }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

void t.test(
  'sixteen publications in flight are one buffer for a thousand clients, and one write each',
  async (t) => {
    const { fanout, writers, feed } = setup(t)
    const feeds = Array.from({ length: 1000 }, () => feed())
    for (const { link } of feeds) link.join('chat:a')
    for (let position = 1; position <= 16; position++) fanout.publish('chat:a', message(position), null)
    t.equal(feeds[0]!.sink.writes.length, 0, 'not before the turn ends')
    t.ok(feeds[0]!.link.bufferedBytes > 16 * 50, 'but it counts as waiting')
    await turn()
    t.equal(writers.sse.written, 16, 'each was written once')
    t.equal(new Set(feeds.flatMap(({ sink }) => sink.writes)).size, 1)
    t.ok(feeds.every(({ sink }) => sink.writes.length === 1))
    t.equal(feeds[0]!.link.bufferedBytes, 0)
    t.equal(feeds[0]!.sink.text.match(/^data: /gm)!.length, 16)
  },
)

void t.test('who shares a part only of what came gets its own order of it', async (t) => {
  const { fanout, writers, feed } = setup(t)
  const both = [feed(), feed()]
  const one = feed()
  const lines = feed(writers.lines)
  for (const { link } of both) {
    link.join('chat:a')
    link.join('chat:b')
  }
  one.link.join('chat:b')
  lines.link.join('chat:a')
  fanout.publish('chat:a', message(1), one.link)
  fanout.publish('chat:b', message(2, 'chat:b'), both[1]!.link)
  fanout.publish('chat:a', message(3), null)
  await turn()
  const numbers = ({ sink }: Feed): unknown => sink.text.match(/(?<="data":)\d/g)
  t.same(numbers(both[0]!), ['1', '2', '3'])
  t.same(numbers(both[1]!), ['1', '3'], 'the excluded one is not given its own')
  t.same(numbers(one), ['2'])
  t.same(numbers(lines), ['1', '3'])
  t.match(lines.sink.text, /^\{"channel":"chat:a","id":"e-1","data":1,"time":1\}\n\{/)
})

void t.test('an id is a cursor for the whole connection, or it is not said', async (t) => {
  const { fanout, feed, setHead } = setup(t)
  const { link, sink } = feed()
  link.join('chat:a')
  setHead(1)
  fanout.publish('chat:a', message(1), null)
  await turn()
  t.notMatch(sink.text, /^id:/m, 'another of its channels still misses something')
  setHead(5)
  link.join(' complete 3')
  await turn()
  t.match(sink.text, /^id: e-5\n\n/m)
  fanout.publish('chat:a', message(6), null)
  fanout.publish('live:x', message(7), null)
  fanout.publish(' complete 3', { type: 'cursor', cursor: 'e-9' }, null)
  await turn()
  t.match(sink.text, /id: e-6\nevent: message\n/)
  t.match(sink.text, /id: e-9\n\n$/)
  link.leave(' complete 3')
  fanout.publish('chat:a', message(10), null)
  link.send({ type: 'message', message: encodeMessage('chat:b', 'e-8', '8', 1), complete: true })
  link.send({ type: 'message', message: encodeMessage('chat:b', 'e-9', '9', 1), complete: false })
  link.send({
    type: 'message',
    message: encodeMessage('live:b', null, '{"channel":"x","id":"e-77"}', 1),
    complete: true,
  })
  await turn()
  t.notMatch(sink.text, /id: e-10/)
  t.equal(sink.text.match(/^id: e-8$/gm)?.length, 1)
  t.notMatch(sink.text, /^id: e-77/m, 'an id within the data is none')
})

void t.test('before anything was granted frames wait, and a close is an answer', async (t) => {
  const { feed } = setup(t)
  const welcome = { type: 'welcome', session: 's', user: null, pingMs: 1, version: '1' } as const
  const waiting = feed(undefined, false)
  waiting.link.send(welcome)
  t.equal(waiting.link.begun, false)
  waiting.link.send({ type: 'subscribed', channel: 'chat:a', cursor: null, recovered: false, messages: [] })
  t.equal(waiting.link.begun, true)
  t.equal(waiting.sink.writes.length, 1, 'head, retry and welcome leave together')
  t.match(
    waiting.sink.text,
    /^retry: 2000\n\nevent: welcome\ndata: \{"session":"s".*"secret":"a secret"\}\n\n$/,
  )
  const refused = feed(undefined, false)
  refused.link.send(welcome)
  refused.link.close(4403, 'forbidden')
  t.same(refused.refused, [[4403, 'forbidden']])
  t.equal(refused.link.send(welcome), false)
  refused.link.open()
  t.equal(refused.sink.writes.length, 0)
})

void t.test('a close goes behind what waits, and takes the link off everything', async (t) => {
  const { fanout, feed } = setup(t)
  const { link, sink, handlers, left } = feed()
  link.join('chat:a')
  fanout.publish('chat:a', message(1), null)
  link.close(4450, 'too slow')
  t.match(sink.text, /data: \{"channel".*\n\nevent: close\ndata: \{"code":4450,"reason":"too slow"\}\n\n$/)
  t.ok(sink.ended)
  t.equal(fanout.topics, 0)
  t.equal(fanout.size, 0)
  const { length } = sink.writes
  fanout.publish('chat:a', message(2), null)
  link.join('chat:a')
  await turn()
  t.equal(sink.writes.length, length)
  t.equal(fanout.topics, 0)
  handlers().onClose()
  t.same(left, [4450])
})

void t.test('what the engine takes at once wakes who waits for it to drain', async (t) => {
  const { feed } = setup(t)
  const made = feed()
  made.drains = 0
  made.link.send({ type: 'cursor', cursor: 'e-1' })
  await turn()
  t.equal(made.drains, 1)
})

void t.test('an event that JSON cannot carry fails for who sends it', async (t) => {
  const { feed } = setup(t)
  const { Args } = await import('../../../src/protocol/args.ts')
  const frame = { type: 'event', event: 'x', args: Args.of([1n]) } as const
  t.throws(() => feed(undefined, false).link.send(frame), TypeError)
  t.throws(() => feed().link.send(frame), TypeError)
})

void t.test('keep-alives leave nothing behind, and follow what waits', async (t) => {
  const { fanout, feed } = setup(t, 20)
  const feeds = Array.from({ length: 40 }, () => feed())
  for (const { link } of feeds) link.join('chat:a')
  await until('three for each', () => feeds.every(({ sink }) => sink.writes.length >= 3))
  t.ok(feeds.every(({ sink }) => /^(:\n\n)+$/.test(sink.text)))
  feeds[0]!.sink.bufferedBytes = 1
  const { length } = feeds[0]!.sink.writes
  await until('more for the others', () => feeds[1]!.sink.writes.length >= 8)
  t.ok(feeds[0]!.sink.writes.length <= length + 1, 'who does not even take that is not given more')
  for (const { link } of feeds) link.terminate()
  t.equal(fanout.size, 0)
})
