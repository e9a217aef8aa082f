import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createServer, request, type ServerResponse } from 'node:http'
import path from 'node:path'
import { promisify } from 'node:util'
import { EventSource } from 'eventsource'
import type { Page } from 'playwright-core'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { browserSkip, openBrowser } from '../support/browser.ts'
import { freePort, startDaemon, type TestConfig } from '../support/daemon.ts'
import { CURL, find, PYTHON_WEBSOCKETS, skipWithout } from '../support/packages.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { nextEvent, type Teardown, until } from '../support/wait.ts'

const run = promisify(execFile)

const CONFIG = {
  ACTIONS: {
    chat: {
      echo: {
        access: 'public',
        handle: (data: unknown, { session }: { session: string }) => ({ data, session }),
      },
    },
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 1000, maxAge: '1d' } },
  },
  api: { keys: ['the-key-of-the-tests'] },
} as unknown as TestConfig

/** Columns of the page: one for each way. */
const WAYS = [
  'WebSocket',
  'EventSource',
  'long-polling',
  'fetch, NDJSON',
  'Socket.IO, websocket',
  'Socket.IO, polling',
  'iframe',
]

/** Holds an iframe of another origin. */
const HOLD = `(url) => new Promise((resolve) => {
  const frame = document.createElement('iframe')
  frame.addEventListener('load', () => resolve('load'))
  frame.src = url
  document.body.append(frame)
})`

/** What would end a script, a line, or a page. */
const NASTY = '</script><script>document.title="gone"</script><!--\u2028\u2029 & "quoted" \\ ü'

for (const listener of ['uws', 'node'] as const) {
  void t.test(
    `${listener}: Chromium: each of its own means, from another origin, before and after a restart`,
    { skip: browserSkip() },
    async (t) => {
      const postgres = await startPostgres(t)
      const page = await openPage(t)
      const port = await freePort()
      const origins = [page.origin]
      const config = { ...CONFIG, listener, port, origins, postgres: { url: postgres.url } } as TestConfig
      const first = await startDaemon(t, config, { migrate: true })
      await page.open(first.url)
      for (const way of WAYS.filter((one) => one !== 'iframe')) await connected(page.page, way)
      // The iframe has no sign of its own that it is there.
      await until('all of them', () => (first.daemon.hub!.channels.get('chat:page') ?? 0) === WAYS.length)
      const texts = ['the first', NASTY]
      for (const text of texts) await first.publish('chat:page', { text })
      await hear(page.page, texts)
      await first.stop('restart')

      const second = await startDaemon(t, config)
      texts.push('before anybody was back')
      await second.publish('chat:page', { text: 'before anybody was back' })
      await hear(page.page, texts)
      texts.push('after it')
      await second.publish('chat:page', { text: 'after it' })
      await hear(page.page, texts)
      t.same(await page.page.locator('[data-refused]').allTextContents(), [], 'nobody lost anything')
      t.equal(await page.page.title(), 'Every way', 'no message became a script')
      const folder = process.env['LIVEMESSAGES_SCREENSHOTS']
      if (folder === undefined) return
      await mkdir(folder, { recursive: true })
      await page.page.screenshot({ path: path.join(folder, `every-way-${listener}.png`), fullPage: true })
    },
  )
}

void t.test(
  'Chromium: a page of an origin that is not listed gets nothing',
  { skip: browserSkip() },
  async (t) => {
    for (const listener of ['uws', 'node'] as const) {
      const daemon = await startDaemon(t, { ...CONFIG, listener, origins: ['https://app.example'] })
      const { page, open } = await openPage(t)
      await open(daemon.url)
      for (const way of WAYS.filter((one) => one !== 'iframe')) {
        await page.locator(`section[data-way="${way}"][data-refused]`).waitFor()
      }
      await daemon.publish('chat:page', { text: 'not for them' })
      const url = `${daemon.url}/stream?channel=chat:page&format=html&callback=parent.handle`
      // It loads at once only where it is refused: the answer has no end.
      t.equal(await page.evaluate(`(${HOLD})(${JSON.stringify(url)})`), 'load')
      const frames = page.frames().map((frame) => frame.url())
      t.ok(
        frames.some((frame) => frame.startsWith('chrome-error:')),
        'an error stands in the iframe',
      )
      t.same(await page.locator('section[data-refused] li').allTextContents(), [])
    }
  },
)

void t.test('eventsource: comes back by itself with its Last-Event-ID', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const proxy = await startProxy(t, daemon.url)
  const source = new EventSource(`http://127.0.0.1:${proxy.port}/sse?channel=chat:a&channel=chat:b`)
  t.teardown(() => source.close())
  const came: unknown[] = []
  let opened = 0
  source.addEventListener('message', ({ data }) => came.push(JSON.parse(data as string).data))
  source.addEventListener('welcome', () => opened++)
  await until('the stream', () => opened === 1 && daemon.daemon.hub!.channels.has('chat:b'))
  await daemon.publish('chat:a', 1)
  await until('the first', () => came.length === 1)
  proxy.refuse()
  proxy.cut()
  for (const n of [2, 3]) await daemon.publish(n === 2 ? 'chat:b' : 'chat:a', n)
  proxy.accept()
  await until('what was missed', () => came.length === 3)
  await daemon.publish('chat:b', 4)
  await until('what is live', () => came.length === 4)
  t.strictSame(came, [1, 2, 3, 4])
  t.equal(opened, 2)
})

void t.test('ws and socket.io-client: the cursor brings them back after a cut', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const proxy = await startProxy(t, daemon.url)
  const base = `127.0.0.1:${proxy.port}`
  const socket = new WebSocket(`ws://${base}/ws?channel=chat:a`, ['livemessage.v1'])
  const frames: Record<string, unknown>[] = []
  socket.on('message', (bytes: Buffer) => frames.push(JSON.parse(bytes.toString())))
  const subscribed = await until('the answer', () => frames.find(({ type }) => type === 'subscribed'))
  t.equal(socket.protocol, 'livemessage.v1')
  const asked = nextEvent(socket, 'pong')
  socket.ping()
  await asked

  const came: unknown[] = []
  let since: string | undefined
  const client = io(`http://${base}/chat`, {
    transports: ['websocket'],
    reconnectionDelay: 20,
    auth: (give) => give({ channels: ['a'], since }),
  })
  t.teardown(() => void client.close())
  client.on('subscribed', ({ cursor, messages }: { cursor: string; messages: { data: unknown }[] }) => {
    since ??= cursor
    came.push(...messages.map(({ data }) => data))
  })
  client.on('message', ({ id, data }: { id: string; data: unknown }) => {
    since = id
    came.push(data)
  })
  await until('both', () => since !== undefined)
  const closed = nextEvent(socket, 'close')
  proxy.refuse()
  proxy.cut()
  t.match(await closed, [1006])
  await daemon.publish('chat:a', 'meanwhile')
  proxy.accept()
  const again = new WebSocket(`ws://${base}/ws?channel=chat:a&since=${String(subscribed['cursor'])}`)
  t.teardown(() => again.terminate())
  again.on('message', (bytes: Buffer) => frames.push(JSON.parse(bytes.toString())))
  const answer = await until('it', () => frames.filter(({ type }) => type === 'subscribed')[1])
  t.match(answer, { recovered: true, messages: [{ data: 'meanwhile' }] })
  await until('it too', () => came.length === 1)
  t.strictSame(came, ['meanwhile'])
})

void t.test(
  'curl: streams, polls by its cursor, calls, publishes, commands',
  { skip: skipWithout(CURL) },
  async (t) => {
    for (const listener of ['uws', 'node'] as const) {
      const daemon = await startDaemon(t, { ...CONFIG, listener })
      const events = stream(t, [`${daemon.url}/sse?channel=chat:a`])
      const lines = stream(t, [`${daemon.url}/stream?channel=chat:a`])
      const welcome = await until('the welcome', () => /event: welcome\ndata: (.*)\n/.exec(events.text)?.[1])
      const { session, secret } = JSON.parse(welcome) as { session: string; secret: string }
      const pass = ['-H', `Livemessage-Session: ${session}`, '-H', `Livemessage-Secret: ${secret}`]
      const json = ['-H', 'Content-Type: application/json']
      await until('both', () => daemon.daemon.hub!.channels.get('chat:a') === 2)

      const { cursor } = await curl([`${daemon.url}/poll?channel=chat:a`])
      const publish = [`${daemon.url}/publish?channel=chat:a`, '-d', '{"n":1}', ...json]
      t.match(await curl([...publish, '-H', 'Authorization: Bearer the-key-of-the-tests']), { id: String })
      t.match(await curl([...publish, ...pass]), { id: String }, 'as the stream')
      const first = await curl([`${daemon.url}/poll?channel=chat:a&since=${String(cursor)}`])
      t.match(first, { recovered: true, lost: [], messages: [{ data: { n: 1 } }, { data: { n: 1 } }] })
      const waiting = curl([`${daemon.url}/poll?channel=chat:a&since=${String(first['cursor'])}`])
      await until('it waits', () => daemon.daemon.hub!.channels.get('chat:a') === 3)
      await daemon.publish('chat:a', { n: 2 }, { Authorization: 'Bearer the-key-of-the-tests' })
      t.match(await waiting, { recovered: true, messages: [{ data: { n: 2 } }] })

      t.match(await curl([`${daemon.url}/call/chat/echo`, '-d', '[1]', ...json, ...pass]), {
        data: { data: [1], session },
      })
      const subscribe = '{"type":"subscribe","id":7,"channel":"chat:b","last":5}'
      t.match(await curl([`${daemon.url}/command`, '-d', subscribe, ...json, ...pass]), {
        type: 'subscribed',
        id: 7,
        channel: 'chat:b',
      })
      await daemon.publish('chat:b', 'by the stream')
      await until('it', () => events.text.includes('by the stream'))
      const given = lines.text.split('\n').filter((line) => line !== '')
      t.match(
        given.map((line) => JSON.parse(line) as unknown),
        [{ type: 'cursor' }, { data: { n: 1 } }, { data: { n: 1 } }, { data: { n: 2 } }],
      )
      const wrong = await curl([`${daemon.url}/command`, '-d', subscribe, ...json, ...pass.slice(0, 2)])
      t.match(wrong, { error: { code: 'forbidden' } })
    }
  },
)

void t.test('Python: websockets of Debian', { skip: skipWithout(PYTHON_WEBSOCKETS) }, async (t) => {
  for (const listener of ['uws', 'node'] as const) {
    const daemon = await startDaemon(t, { ...CONFIG, listener })
    const file = path.join(import.meta.dirname, 'websockets-client.py')
    const { stdout } = await run('/usr/bin/python3', [file, daemon.ws], { timeout: 20_000 })
    const told = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
    t.strictSame(told, [
      ['protocol', 'livemessage.v1'],
      ['user', null],
      ['reply', 'ü'],
      ['pong', true],
      ['recovered', true],
      ['missed', [{ n: 1 }]],
      ['closed', 4400],
    ])
  }
})

interface OpenPage {
  readonly page: Page
  readonly origin: string
  open(daemon: string): Promise<void>
}

/** A page of a host of its own. */
async function openPage(t: Test): Promise<OpenPage> {
  const library = createRequire(import.meta.url).resolve('socket.io-client')
  const files: Readonly<Record<string, readonly [string, string]>> = {
    '/': ['text/html', path.join(import.meta.dirname, 'every-way/page.html')],
    '/page.js': ['text/javascript', path.join(import.meta.dirname, 'every-way/page.js')],
    '/socket.io.min.js': [
      'text/javascript',
      path.join(
        library.slice(0, library.lastIndexOf('socket.io-client')),
        'socket.io-client/dist/socket.io.min.js',
      ),
    ],
  }
  let behind = ''
  const server = createServer(({ url = '' }, response) => {
    // As a reverse proxy: an iframe may call functions of pages of its own origin only.
    if (url.startsWith('/stream?')) return forward(behind + url, response)
    const [type, file] = files[url.split('?', 1)[0]!] ?? []
    if (type === undefined || file === undefined) return response.writeHead(404).end()
    readFile(file).then(
      (bytes) => response.writeHead(200, { 'Content-Type': `${type}; charset=utf-8` }).end(bytes),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
    return undefined
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as { port: number }
  const browser = await openBrowser(t)
  const page = await browser.newPage()
  const origin = `http://127.0.0.1:${port}`
  return {
    page,
    origin,
    open: async (daemon) => {
      behind = daemon
      await page.goto(`${origin}/?${new URLSearchParams({ daemon, channel: 'chat:page' }).toString()}`, {
        waitUntil: 'domcontentloaded',
      })
    },
  }
}

function forward(url: string, response: ServerResponse): void {
  const asked = request(url, { agent: false }, (answer) => {
    response.writeHead(answer.statusCode!, answer.headers)
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  asked.on('error', () => response.destroy())
  response.on('close', () => asked.destroy())
  asked.end()
}

function connected(page: Page, way: string): Promise<void> {
  return page.locator(`section[data-way="${way}"][data-connects]`).waitFor()
}

/** Every column has these texts, in this order and each once. */
async function hear(page: Page, texts: readonly string[]): Promise<void> {
  for (const way of WAYS) {
    await until(`${way}: ${texts.length} messages`, async () => {
      const found = await page.locator(`section[data-way="${way}"] li`).allTextContents()
      if (JSON.stringify(found) === JSON.stringify(texts)) return true
      throw new Error(JSON.stringify(found))
    })
  }
}

/** curl's answer, decoded. */
async function curl(args: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout } = await run(find(CURL)!, ['-sS', '--max-time', '20', ...args])
  return JSON.parse(stdout) as Record<string, unknown>
}

/** curl with an endless answer: what it has printed so far. */
function stream(t: Teardown, args: readonly string[]): { readonly text: string } {
  const child = spawn(find(CURL)!, ['-sSN', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill()
    await ended
  })
  const printed = { text: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed.text += text))
  return printed
}
