import { setImmediate as turn } from 'node:timers/promises'
import type { BaseContext, Connection, HookContext } from '../../src/index.ts'
import { Args } from '../../src/protocol/args.ts'
import { connect, type TestClient } from '../support/client.ts'
import { until } from '../support/wait.ts'
import { CHANNELS, onBoth, positionOf } from './both.ts'

interface Messages {
  readonly seen: number[]
  cursor: string
}

/** The numbers of all messages of a client and its newest cursor, added to what an earlier connection had. */
function collect(client: TestClient, into: Messages): Messages {
  for (const frame of client.frames) {
    const messages = frame.type === 'subscribed' ? (frame['messages'] as (typeof frame)[]) : [frame]
    for (const message of messages) {
      if (!Array.isArray(message['data'])) continue
      into.seen.push((message['data'] as number[])[0]!)
      into.cursor = message['id'] as string
    }
  }
  return into
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_value, index) => first + index)
}

onBoth(
  'a client that reads nothing is closed, the others lose nothing, and it recovers when it is back',
  async (t, start) => {
    let publish = (_channel: string, _data: unknown): Promise<{ id: string | null }> =>
      Promise.reject(new Error('not yet'))
    const daemon = await start({
      ...CHANNELS,
      limits: { bufferBytes: 256 * 1024 },
      hooks: {
        start: (context: BaseContext) => {
          publish = (channel, data) => context.publish(channel, data)
        },
      },
    })
    const { counts } = daemon.daemon
    const good = await connect(t, daemon)
    await good.subscribe('chat:a')
    const first = (await publish('chat:a', 'first')).id!
    let slow: Messages = { seen: [], cursor: first }
    let last = 0
    const text = 'x'.repeat(1000)
    for (let round = 1; round <= 4; round++) {
      const client = await connect(t, daemon)
      t.match(await client.subscribe('chat:a', { since: slow.cursor }), { recovered: true })
      client.pause()
      const before = counts.slowClients
      await until('it is closed', async () => {
        for (let count = 0; count < 500; count++) void publish('chat:a', [++last, text])
        await turn()
        return counts.slowClients > before
      })
      client.resume()
      const { code } = await client.closed
      await until('it is gone', () => daemon.daemon.hub!.size === 1)
      t.ok(code === 4450 || code === 1006, `closed with ${code}`)
      slow = collect(client, slow)
      t.equal(counts.slowClients, round)
    }
    const back = await connect(t, daemon)
    t.match(await back.subscribe('chat:a', { since: slow.cursor }), { recovered: true })
    const { id } = await publish('chat:a', [++last, 'end'])
    await back.next({ id })
    await good.next({ id })
    t.same(collect(back, slow).seen, range(1, last))
    t.same(collect(good, { seen: [], cursor: '' }).seen, range(1, last))
    t.equal(counts.droppedFrames, 0)
  },
)

onBoth(
  'a burst within one turn never makes the listener drop silently, whatever the sizes',
  async (t, start) => {
    let publish = (_channel: string, _data: unknown): Promise<{ id: string | null }> =>
      Promise.reject(new Error('not yet'))
    const daemon = await start({
      ...CHANNELS,
      limits: { publicationBytes: '4mb', bufferBytes: '1mb', windowBytes: '512mb' },
      hooks: {
        start: (context: BaseContext) => {
          publish = (channel, data) => context.publish(channel, data)
        },
      },
    })
    const { counts, hub } = daemon.daemon
    for (const size of [10, 900, 15_000, 17_000, 300_000, 3_000_000]) {
      for (const other of ['', '水']) {
        const client = await connect(t, daemon)
        const cursor = (await client.subscribe('chat:a'))['cursor'] as string
        client.pause()
        // Just below the soft limit: what the sweep leaves alone.
        const [one] = [...hub!]
        const frame = { type: 'event' as const, event: 'fill', args: Args.of(['x'.repeat(64 * 1024)]) }
        while (one!.link.bufferedBytes < 900 * 1024) one!.send(frame)
        const before = counts.droppedFrames
        const data = (other || 'x').repeat(size / Math.max(1, Buffer.byteLength(other)))
        const count = Math.ceil((40 * 1024 * 1024) / Math.max(100, Buffer.byteLength(data)) / 4)
        const small = Math.min(count, 40_000)
        for (let n = 0; n < small; n++) void publish('chat:a', n % 5 === 0 && size > 10_000 ? 'small' : data)
        // Sent to it alone, in the same turn.
        for (let n = 0; n < 40; n++) one!.send(frame)
        await turn()
        void publish('chat:a', 'behind')
        await turn()
        client.resume()
        await client.closed
        t.equal(counts.droppedFrames, before, `${small} of ${Buffer.byteLength(data)} bytes`)
        const positions = client.frames
          .filter(({ type }) => type === 'message')
          .map((message) => positionOf(message['id']))
        const start = positionOf(cursor) + 1
        t.same(positions, range(start, start + positions.length - 1), 'no gap in what it was given')
        await until('it is gone', () => hub!.size === 0)
      }
    }
  },
)

onBoth(
  'who asks for much and reads nothing is too slow as well, although nothing is published',
  async (t, start) => {
    const daemon = await start({
      ...CHANNELS,
      limits: { bufferBytes: 256 * 1024 },
      ACTIONS: { chat: { much: () => 'x'.repeat(200_000) }, live: {} },
    })
    const client = await connect(t, daemon)
    client.pause()
    const [one] = [...daemon.daemon.hub!]
    let most = 0
    await until('it is closed', () => {
      for (let count = 0; count < 5; count++) client.send({ type: 'call', id: 1, action: 'chat.much' })
      most = Math.max(most, one!.link.bufferedBytes)
      return daemon.daemon.counts.slowClients === 1
    })
    t.ok(most < 16 * 1024 * 1024, `buffered ${most}`)
    t.equal(daemon.daemon.counts.droppedFrames, 0)
    client.resume()
    await client.closed
  },
)

onBoth(
  'a client that is too slow in the midst of a delivery: its disconnect hook can not overtake it',
  async (t, start) => {
    let publish = (_channel: string, _data: unknown): Promise<{ id: string | null }> =>
      Promise.reject(new Error('not yet'))
    const daemon = await start({
      ...CHANNELS,
      limits: { bufferBytes: 64 * 1024 },
      hooks: {
        start: (context: BaseContext) => {
          publish = (channel, data) => context.publish(channel, data)
        },
        disconnect: (_connection: Connection, { code }: { code: number }, { publish }: HookContext) =>
          publish('chat:a', `left with ${code}`).then(() => undefined),
      },
    })
    const watcher = await connect(t, daemon)
    await watcher.subscribe('chat:a')
    for (let round = 0; round < 5; round++) {
      const client = await connect(t, daemon)
      await client.subscribe('chat:a')
      client.pause()
      await until('it is closed', async () => {
        for (let count = 0; count < 2000; count++) void publish('chat:a', 'x'.repeat(500))
        await turn()
        return daemon.daemon.counts.slowClients > round
      })
      client.resume()
    }
    await publish('chat:a', 'end')
    await watcher.next({ data: 'end' })
    const positions = watcher.frames.filter(({ type }) => type === 'message').map(({ id }) => positionOf(id))
    t.same(positions, range(1, positions.length))
    t.ok(
      watcher.frames.some(
        (frame) => frame['data'] === 'left with 4450' || frame['data'] === 'left with 1006',
      ),
    )
  },
)
