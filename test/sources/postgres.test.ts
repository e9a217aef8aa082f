import t from 'tap'
import type { Test } from 'tap'
import { ClientError } from '../../src/protocol/codes.ts'
import { createPostgresSource } from '../../src/sources/postgres.ts'
import type { PostgresSourceOptions } from '../../src/sources/postgres.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { testSource } from './contract.ts'
import { record, recordLog } from './recorder.ts'

t.setTimeout(120_000)

const RETRY = { minMs: 10, maxMs: 100 }
const server = await startPostgres(t)
let count = 0
const fresh = (): string => `test${++count}`

const notify = async (name: string, ...payloads: string[]): Promise<void> => {
  await server.psql('SELECT pg_notify($1, payload) FROM unnest($2::text[]) payload', [name, payloads])
}

type Options = Partial<PostgresSourceOptions> & { url?: string; checkMs?: number }

const make = (t: Test, { url = server.url, checkMs = 200, ...options }: Options = {}) => {
  const channel = fresh()
  const heard = record()
  const { log, lines } = recordLog()
  const source = createPostgresSource({
    name: 'postgres',
    listen: { url, checkMs, retry: RETRY },
    channel,
    notify: new Map(),
    log,
    retry: RETRY,
    ...options,
  })
  t.teardown(() => source.stop())
  return { source, heard, lines, channel, say: (...payloads: string[]) => notify(channel, ...payloads) }
}

void t.test('contract', async (t) => {
  testSource(t, {
    url: server.url,
    keeps: false,
    noticedMs: 2_000,
    server,
    create: ({ url, retry, log, stallMs = 5_000 }) => {
      const name = fresh()
      const source = createPostgresSource({
        name: 'postgres',
        channel: name,
        notify: new Map(),
        listen: { url, retry, checkMs: 200, connectMs: 2_000, closeMs: 200 },
        retry,
        log,
        stallMs,
      })
      const say = (...texts: string[]): Promise<void> =>
        notify(name, ...texts.map((text) => `{"channel":"chat:${name}","data":${text}}`))
      return { source, channel: `chat:${name}`, say }
    },
  })
})

void t.test('data is passed on as the very text that came, whatever shape the payload has', async (t) => {
  const { source, heard, say } = make(t)
  await source.start(heard)
  await say(
    '{"data": {"n": 1.0, "big": 12345678901234567890, "s": "a\\"},{\\\\"}, "channel": "chat:1"}',
    '{"channel" : "chat:2" ,\n "data" : [1,\n [2, {"data": 3}]] }',
    '{"data":"first","channel":"chat:3","data":"last"}',
    '{"channel":"chat:4","d\\u0061ta":1e2}',
    '{"channel":"chat:5","data":null,"key":"k1"}',
  )
  await until('all', () => heard.data.length === 5)
  t.same(
    heard.notifications.map(({ channel, json, key }) => [channel, json, key]),
    [
      ['chat:1', '{"n": 1.0, "big": 12345678901234567890, "s": "a\\"},{\\\\"}', undefined],
      ['chat:2', '[1,  [2, {"data": 3}]]'.replace(',  [', ', [').replace(', [2', ',  [2'), undefined],
      ['chat:3', '"last"', undefined],
      ['chat:4', undefined, undefined],
      ['chat:5', 'null', 'postgres:k1'],
    ],
  )
  t.equal(heard.data[3], 100)
})

void t.test('what is no publication is rejected, each with its own code', async (t) => {
  const { source, heard, say, channel } = make(t)
  await source.start(heard)
  await say('{"data":1}', '[1]', '"text"', '', '{"channel":"nothing","data":1}', '{"channel":7,"data":1}')
  await say('{"channel":"chat:1"}', '{"channel":"chat:1","data":1,"key":5}', '{"channel":"chat:1","data":1}')
  await until('the good one', () => heard.data.length === 1)
  t.same(
    heard.rejects.map(({ code }) => code),
    [
      ...Array.from({ length: 4 }, () => 'no_channel'),
      'bad_channel',
      'bad_channel',
      'no_data',
      'bad_payload',
    ],
  )
  t.ok(heard.rejects.every(({ place }) => place === channel))
})

void t.test(
  "a sender's own NOTIFY name goes to each subsystem that hears it, whatever it says",
  async (t) => {
    const own = fresh()
    const { source, heard, say } = make(t, {
      notify: new Map([[own, ['messages', 'tasks']]]),
      database: 'shop',
    })
    await source.start(heard)
    await notify(own, '{"id":42,"channel":"of no meaning here"}', '')
    await say('{"channel":"chat:1","data":1}')
    await until('all', () => heard.data.length === 5)
    t.match(heard.notifications, [
      { subsystem: 'messages', name: own, data: { id: 42 }, database: 'shop', channel: undefined },
      { subsystem: 'tasks', name: own, data: { id: 42 } },
      { subsystem: 'messages', data: null, json: 'null' },
      { subsystem: 'tasks', data: null },
      { channel: 'chat:1', database: 'shop' },
    ])
  },
)

void t.test('names come and go on the open connection', async (t) => {
  const [one, two] = [fresh(), fresh()]
  const { source, heard } = make(t, { notify: new Map([[one, ['messages']]]) })
  await source.start(heard)
  await source.setNotify(new Map([[two, ['tasks']]]))
  await notify(one, '1')
  await notify(two, '2')
  await until('the second', () => heard.data.length === 1)
  t.match(heard.notifications, [{ subsystem: 'tasks', data: 2 }])
  t.same(heard.states, ['up'])
  await source.setNotify(new Map([[one, ['tasks']]]))
  await notify(two, '3')
  await notify(one, '4')
  await until('the fourth', () => heard.data.length === 2)
  t.same(heard.data, [2, 4])
})

void t.test('a payload of nearly 8,000 bytes arrives whole', async (t) => {
  const { source, heard, say } = make(t)
  await source.start(heard)
  const text = 'ä'.repeat(3_900)
  await say(JSON.stringify({ channel: 'chat:1', data: text }))
  await until('it', () => heard.data.length === 1)
  t.equal(heard.data[0], text)
})

for (const [what, room] of [
  ['notifications', { maxWaiting: 100 }],
  ['bytes', { maxWaitingBytes: 100 * 4_100 }],
] as const) {
  void t.test(
    `too many ${what} wait: newer ones are dropped and counted, and the gap is told at once`,
    async (t) => {
      const { source, heard, lines, say } = make(t, { ...room, checkMs: 150 })
      let open = (): void => {}
      const gate = new Promise<void>((resolve) => (open = resolve))
      heard.handle = () => gate
      await source.start(heard)
      const payload = (i: number): string =>
        JSON.stringify({ channel: 'chat:1', data: { i, pad: 'x'.repeat(4_000) } })
      for (let from = 0; from < 1_000; from += 500) {
        await say(...Array.from({ length: 500 }, (_, i) => payload(from + i)))
      }
      await until('all to be read, and the server to hold nothing', () => heard.rejects.length >= 895)
      const [usage] = await server.psql('SELECT pg_notification_queue_usage() AS used')
      t.equal(usage?.['used'], 0)
      t.equal(heard.gaps, 1)
      t.ok(heard.rejects.every(({ code, place }) => code === 'overflow' && place === 'chat:1'))
      const told = (text: string): number => lines.filter(({ msg }) => msg.includes(text)).length
      t.equal(told('newer ones are dropped'), 1)
      heard.handle = () => undefined
      open()
      await until('the log to tell', () => told('taken again') === 1)
      await until('those kept', () => heard.data.length + heard.rejects.length === 1_000)
      t.ok(
        heard.notifications.every(({ json }, i) => json?.startsWith(`{"i":${i},`)),
        'the oldest, in their order',
      )
      t.same(heard.states, ['up'], 'the connection stays')
      await say(payload(1_000))
      await until('the next one', () => heard.notifications.at(-1)?.json?.startsWith('{"i":1000,'))
      t.equal(heard.gaps, 1)
    },
  )
}

void t.test('a subsystem whose sender hangs holds up itself, no other, and is told', async (t) => {
  const own = fresh()
  const { source, heard, say } = make(t, { notify: new Map([[own, ['mail']]]), stallMs: 50 })
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  heard.handle = ({ subsystem }) => (subsystem === 'mail' ? gate : undefined)
  await source.start(heard)
  await notify(own, '1')
  await say('{"channel":"mail:7","data":2}', '{"channel":"chat:1","data":3}')
  await until('the other subsystem', () => heard.data.length === 1)
  t.same(heard.data, [3])
  await until('down', () => source.state === 'down')
  t.match(source.reason, /mail.*held up.*50 ms/)
  open()
  await until('all', () => heard.data.length === 3)
  t.same(heard.data, [3, 1, 2])
  await until('up', () => source.state === 'up')
})

void t.test('the wrong password is told as the reason, once in the log', async (t) => {
  const url = new URL(server.url)
  url.password = 'wrong'
  const { source, heard, lines } = make(t, { url: url.href })
  await source.start(heard)
  t.equal(source.state, 'down')
  t.match(source.reason, /password/)
  t.notMatch(source.reason, /wrong/)
  t.equal(lines.length, 1)
})

void t.test('a session that the server ends is replaced; one connection, with its name', async (t) => {
  const { source, heard, say } = make(t)
  await source.start(heard)
  const mine = "SELECT pid FROM pg_stat_activity WHERE application_name = 'livemessages listen'"
  const before = await server.psql(mine)
  t.equal(before.length, 1)
  await server.psql('SELECT pg_terminate_backend($1)', [before[0]?.['pid']])
  await until('up again', () => heard.states.length === 3 && source.state === 'up')
  t.equal((await server.psql(mine)).length, 1)
  t.equal(heard.gaps, 1)
  await say('{"channel":"chat:1","data":1}')
  await until('a message', () => heard.data.length === 1)
})

void t.test('a stop hands over what was heard and still waits', async (t) => {
  const { source, heard, lines, say } = make(t)
  let calls = 0
  let go = (): void => undefined
  const first = new Promise<void>((resolve) => (go = resolve))
  heard.handle = () =>
    ++calls === 1 ? first : calls === 2 ? Promise.reject(new Error('not yet')) : undefined
  await source.start(heard)
  const [a, b] = [fresh(), fresh()]
  await say(
    ...[1, 2, 3].map((data) => JSON.stringify({ channel: `${a}:1`, data })),
    JSON.stringify({ channel: `${b}:1`, data: 'held up by nobody' }),
  )
  await until('the other subsystem', () => calls > 0 && heard.data.length > 0)
  const stopping = source.stop()
  go()
  await stopping
  t.same(heard.data.filter(Number.isInteger), [1, 2, 3])
  t.equal(heard.gaps, 0)
  t.notOk(lines.some(({ level }) => level === 'warn'))
})

void t.test('what a stop has no time for is said, and is a gap', async (t) => {
  const { source, heard, lines, say } = make(t, { drainMs: 100 })
  heard.handle = ({ data }) => (data === 1 ? new Promise(() => {}) : undefined)
  await source.start(heard)
  const channel = `${fresh()}:1`
  await say(
    ...[1, 2, 3].map((data) => JSON.stringify({ channel, data })),
    '{"channel":"chat:1","data":"last"}',
  )
  await until('the last one', () => heard.data.length === 1)
  await source.stop()
  t.match(
    lines.filter(({ level }) => level === 'warn'),
    [{ count: 3, drainMs: 100, msg: /the rest is lost/ }],
  )
  t.equal(heard.gaps, 1)
  t.same(heard.data, ['last'])
  t.same(heard.rejects, [], 'nobody was asked about them')
})

void t.test('a stop while the journal is unreachable gives up at its deadline what waits', async (t) => {
  const { source, heard, lines, say } = make(t, { drainMs: 100 })
  let calls = 0
  heard.handle = () => {
    calls++
    throw new ClientError('unavailable', 'no journal')
  }
  await source.start(heard)
  await say('{"channel":"chat:1","data":1}')
  await until('some attempts', () => calls > 2)
  await source.stop()
  const atStop = calls
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(calls, atStop)
  t.equal(heard.gaps, 1)
  t.ok(lines.some(({ msg }) => msg.includes('the rest is lost')))
})

void t.test('a slow link loses nothing', async (t) => {
  const proxy = await startProxy(t, server.url)
  proxy.delay(30)
  const { source, heard, say } = make(t, { url: proxy.url(server.url) })
  await source.start(heard)
  await say('{"channel":"chat:1","data":1}')
  await until('it', () => heard.data.length === 1)
})
