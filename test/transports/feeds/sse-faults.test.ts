import type { TestDaemon } from '../../support/daemon.ts'
import { until } from '../../support/wait.ts'
import { CHANNELS, onBoth, SECRET, token } from '../both.ts'
import { messagesOf, read, untilBlock } from './reader.ts'

function clients(daemon: TestDaemon): number {
  return daemon.daemon.hub!.size
}

onBoth('a draining daemon tells its feeds when to come back, and ends them', async (t, start) => {
  const left: unknown[] = []
  const daemon = await start({
    ...CHANNELS,
    hooks: { disconnect: (_connection: unknown, why: unknown) => void left.push(why) },
  })
  const sse = await read(t, `${daemon.url}/sse?channel=chat:a`)
  const lines = await read(t, `${daemon.url}/stream?channel=chat:a`)
  await untilBlock(sse, ({ id }) => id !== undefined)
  await daemon.stop('restart')
  await until('the end of both', () => sse.ended && lines.ended)
  t.match(sse.blocks.slice(-3), [
    { retry: Number },
    { event: 'reconnect', data: { after: Number, reason: 'restart' } },
    { event: 'close', data: { code: 1012, reason: 'restart' } },
  ])
  t.match(lines.lines.slice(-2), [
    { type: 'reconnect', after: Number, reason: 'restart' },
    { type: 'close', code: 1012, reason: 'restart' },
  ])
  t.match(left, [{ code: 1012 }, { code: 1012 }])
})

onBoth('keep-alives come where nothing else does', async (t, start) => {
  const daemon = await start({ ...CHANNELS, ping: '500ms' })
  const quiet = await read(t, `${daemon.url}/sse?channel=live:quiet`)
  const busy = await read(t, `${daemon.url}/sse?channel=live:busy`)
  const comments = (reader: typeof quiet): number =>
    reader.blocks.filter((block) => block.comment !== undefined).length
  let count = 0
  await until('three of them', async () => {
    await daemon.publish('live:busy', count++)
    return comments(quiet) >= 3
  })
  t.ok(comments(busy) < 2, 'hardly any where something is said all the time')
  t.equal(messagesOf(quiet).length, 0)
})

onBoth('a token that expires ends the stream, and says why', async (t, start) => {
  const daemon = await start({ ...CHANNELS, auth: { jwt: { secret: SECRET }, required: true } })
  t.equal((await fetch(`${daemon.url}/sse?channel=chat:a`)).status, 401)
  const reader = await read(t, `${daemon.url}/sse?channel=chat:a`, {
    headers: { Authorization: `Bearer ${await token('7', 2)}` },
  })
  await until('its end', () => reader.ended)
  t.match(reader.blocks.at(-1), { event: 'close', data: { code: 4453, reason: 'token expired' } })
})

onBoth('who reads too slowly is ended and comes back without a gap', async (t, start) => {
  const daemon = await start({ ...CHANNELS, limits: { bufferBytes: '64kb' } })
  const slow = await read(t, `${daemon.url}/sse?channel=chat:a`, { paused: true })
  const fast = await read(t, `${daemon.url}/sse?channel=chat:a`)
  await until('both are here', () => clients(daemon) === 2)
  const padding = 'x'.repeat(30_000)
  let count = 0
  await until('the slow one is closed', async () => {
    await daemon.publish('chat:a', [count++, padding])
    return daemon.daemon.counts.closes.get(4450) === 1
  })
  slow.resume()
  await until('its end', () => slow.ended)
  const numbers = (reader: typeof slow): number[] =>
    messagesOf(reader).map(({ data }) => (data as [number])[0])
  const first = numbers(slow)
  const place = slow.blocks.filter(({ id }) => id !== undefined).at(-1)!.id!
  await daemon.publish('chat:a', [count++, ''])
  const again = await read(t, `${daemon.url}/sse?channel=chat:a`, { headers: { 'Last-Event-ID': place } })
  const all = Array.from({ length: count }, (_value, index) => index)
  await until('what is left', () => numbers(again).length >= count - first.length)
  t.same([...first, ...numbers(again)], all)
  await until('the fast one has all', () => numbers(fast).length === count)
})

onBoth('clients that vanish leave nothing', async (t, start) => {
  const daemon = await start(CHANNELS)
  for (let round = 0; round < 10; round++) {
    const readers = await Promise.all(
      Array.from({ length: 20 }, () => read(t, `${daemon.url}/sse?channel=chat:a&channel=live:b`)),
    )
    for (const reader of readers) reader.close()
  }
  await until('nobody is left', () => clients(daemon) === 0)
  t.equal(daemon.daemon.hub!.channels.size, 0)
})

onBoth(
  'who vanishes while it is being let in is forgotten at once, and its hooks are told in order',
  async (t, start) => {
    const told: unknown[] = []
    let letIn = (): void => undefined
    const daemon = await start({
      ...CHANNELS,
      hooks: {
        connect: async () => {
          told.push('connect')
          await new Promise<void>((resolve) => (letIn = resolve))
          told.push('let in')
        },
        disconnect: (_connection: unknown, { code }: { code: number }) => void told.push(code),
      },
    })
    const abort = new AbortController()
    const asked = fetch(`${daemon.url}/sse?channel=chat:a`, { signal: abort.signal })
    asked.catch(() => undefined)
    await until('the hook is asked', () => told.length === 1)
    abort.abort()
    await until('it is forgotten', () => clients(daemon) === 0)
    letIn()
    await until('the hook is told', () => told.length === 3)
    t.same(told, ['connect', 'let in', 1006])
    t.equal(daemon.daemon.hub!.channels.size, 0)
  },
)
