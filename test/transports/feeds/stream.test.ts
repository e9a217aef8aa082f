import { until } from '../../support/wait.ts'
import { CHANNELS, onBoth } from '../both.ts'
import { read, type Reader } from './reader.ts'

function linesWith(reader: Reader, field: string): Record<string, unknown>[] {
  return reader.lines.filter((line) => Object.hasOwn(line, field))
}

/** What a page around the iframe would be given: the scripts are run. */
function handed(reader: Reader, callback = 'parent.handle'): unknown[] {
  const found: unknown[] = []
  for (const [, script = ''] of reader.text.matchAll(/<script>(.*?)<\/script>/g)) {
    const call = new RegExp(`^${callback.replace('.', '\\.')}\\((.*)\\)$`).exec(script)
    if (call !== null) found.push(JSON.parse(call[1]!))
  }
  return found
}

onBoth('a line for each message, as it is; what must not go unsaid has a type', async (t, start) => {
  const daemon = await start(CHANNELS)
  await daemon.publish('chat:a', 'before')
  const reader = await read(t, `${daemon.url}/stream?channel=chat:a&channel=live:b&since=0123456789ab-1`)
  t.equal(reader.status, 200)
  t.match(reader.headers, {
    'content-type': /^application\/x-ndjson/,
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    'x-content-type-options': 'nosniff',
  })
  await until('it is complete', () => linesWith(reader, 'cursor').length === 1)
  const { body } = await daemon.publish('chat:a', { n: 1 })
  await daemon.publish('live:b', 2)
  await until('both', () => linesWith(reader, 'data').length === 2)
  t.match(reader.lines, [
    { type: 'lost', channel: 'chat:a' },
    { type: 'cursor', cursor: /-1$/ },
    { channel: 'chat:a', id: (body as { id: string }).id, data: { n: 1 }, time: Number },
    { channel: 'live:b', data: 2 },
  ])
  t.notOk('type' in reader.lines[2]!)
})

onBoth('with frames=1 every frame is a line, as a WebSocket has it', async (t, start) => {
  const daemon = await start(CHANNELS)
  const reader = await read(t, `${daemon.url}/stream?channel=chat:a&frames=1`)
  await until('it is complete', () => linesWith(reader, 'cursor').length === 2)
  await daemon.publish('chat:a', 1)
  await until('the message', () => linesWith(reader, 'data').length === 1)
  t.match(reader.lines, [
    { type: 'welcome', session: String, user: null, ping: 25_000, version: String },
    { type: 'subscribed', channel: 'chat:a', recovered: false, messages: [] },
    { type: 'cursor' },
    { type: 'message', channel: 'chat:a', data: 1 },
  ])
})

onBoth(
  'the iframe form calls the function with each message, and nothing in it can end the script',
  async (t, start) => {
    const daemon = await start({ ...CHANNELS, origins: ['https://app.example', 'https://*.site.example'] })
    const reader = await read(t, `${daemon.url}/stream?channel=chat:a&format=html&callback=parent.handle`)
    t.match(reader.headers, { 'content-type': /^text\/html/, 'x-content-type-options': 'nosniff' })
    t.match(
      reader.headers['content-security-policy'],
      "frame-ancestors 'self' https://app.example https://*.site.example",
    )
    await until('the padding', () => reader.text.length >= 1024)
    const evil = { text: '</script><script>alert(1)</script><!-- & \u2028\u2029', '</script>': ']]>' }
    await daemon.publish('chat:a', evil)
    await daemon.publish('chat:a', 2)
    await until('both', () => handed(reader).length === 2)
    t.match(handed(reader), [{ channel: 'chat:a', id: String, data: evil }, { data: 2 }])
    const scripts = reader.text.slice(reader.text.indexOf('<script>'))
    t.equal(scripts.match(/<\/script>/g)?.length, 2, 'each script ends once')
    t.notMatch(scripts.replace(/<\/?script>/g, ''), /[<>&\u2028\u2029]/)
  },
)

onBoth('only configured functions are called, and only known forms written', async (t, start) => {
  const daemon = await start({ ...CHANNELS, origins: ['https://app.example'] })
  const status = async (query: string): Promise<number> =>
    (await fetch(`${daemon.url}/stream?${query}`)).status
  t.equal(await status('channel=chat:a&format=html'), 400)
  t.equal(await status('channel=chat:a&format=html&callback=alert'), 400)
  t.equal(await status('channel=chat:a&format=html&callback=parent.handle.x'), 400)
  t.equal(await status('channel=chat:a&format=xml'), 400)
  const headers = { Origin: 'https://app.example' }
  const refused = await fetch(`${daemon.url}/stream?channel=chat:a&format=xml`, { headers })
  t.equal(refused.headers.get('access-control-allow-origin'), headers.Origin, 'its page may read why')
  t.equal(daemon.daemon.hub!.size, 0)
})
