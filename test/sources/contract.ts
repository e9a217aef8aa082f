import type { Test } from 'tap'
import { ClientError } from '../../src/protocol/codes.ts'
import type { Log } from '../../src/ops/log.ts'
import type { Retry } from '../../src/backoff.ts'
import type { Source } from '../../src/sources/source.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { record, recordLog } from './recorder.ts'

/** What the contract needs to know of an implementation. */
export interface Rig {
  /** Of the server itself. */
  readonly url: string
  /** Whether the server keeps what is said while nobody listens. */
  readonly keeps: boolean
  /** A silent connection is noticed within this time. */
  readonly noticedMs: number
  /** The channel that a source made by `create` hears, and the way to say something on it. */
  create(options: { url: string; retry: Retry; log: Log; stallMs?: number }): {
    source: Source
    channel: string
    /** JSON text, or what pretends to be. */
    readonly say: (...texts: string[]) => Promise<void>
  }
  /** Null where the server is not ours to kill. `settleMs`: what is new survives a `kill` only after this time. */
  readonly server: { readonly settleMs?: number; kill(): Promise<void>; restart(): Promise<void> } | null
}

const RETRY: Retry = { minMs: 10, maxMs: 100 }

/** What every source promises, whatever it listens to. */
export function testSource(t: Test, rig: Rig): void {
  const make = (t: Test, url = rig.url, stallMs?: number) => {
    const { log, lines } = recordLog()
    const heard = record()
    const { source, channel, say } = rig.create({
      url,
      retry: RETRY,
      log,
      ...(stallMs === undefined ? {} : { stallMs }),
    })
    t.teardown(() => source.stop())
    return { source, channel, say, heard, lines }
  }
  const behindProxy = async (t: Test) => {
    const proxy = await startProxy(t, rig.url)
    return { proxy, ...make(t, proxy.url(rig.url)) }
  }

  void t.test('hands over what is said, in order, and nothing after its stop', async (t) => {
    const { source, channel, say, heard } = make(t)
    await source.start(heard)
    t.equal(source.state, 'up')
    await say('1', '{"a":"ü"}', '"three"', 'null', '12345678901234567890')
    await until('all five', () => heard.data.length === 5)
    t.same(heard.data.slice(0, 4), [1, { a: 'ü' }, 'three', null])
    t.match(heard.notifications[1], { channel, json: '{"a":"ü"}', source: source.name })
    t.equal(heard.notifications[4]?.json, '12345678901234567890', 'a number is not rounded')
    await Promise.all([source.stop(), source.stop()])
    await source.stop()
    await say('6').catch((error: unknown) => t.comment(`nobody took it: ${String(error)}`))
    t.equal(heard.data.length, 5)
    t.same(heard.states, ['up', 'stopped'])
    t.equal(heard.gaps, 0)
  })

  void t.test('hands over one at a time, those that follow wait for the promise', async (t) => {
    const { source, say, heard } = make(t)
    let underWay = 0
    heard.handle = async ({ data }) => {
      t.equal(++underWay, 1)
      await new Promise((resolve) => setTimeout(resolve, data === 0 ? 20 : 0))
      underWay--
    }
    await source.start(heard)
    await say(...Array.from({ length: 20 }, (_, i) => String(i)))
    await until('all twenty', () => heard.data.length === 20)
    t.same(
      heard.data,
      Array.from({ length: 20 }, (_, i) => i),
    )
  })

  void t.test(
    'one whose place is settled lets the next follow; a stop waits for those in hand',
    async (t) => {
      const { source, say, heard } = make(t)
      const keep: (() => void)[] = []
      heard.handle = () => ({ kept: new Promise((resolve) => keep.push(resolve)) })
      await source.start(heard)
      await say('1', '2', '3')
      await until('all three in hand', () => keep.length === 3)
      t.same(heard.data, [1, 2, 3])
      let stopped = false
      const stopping = source.stop().then(() => (stopped = true))
      for (const one of keep.splice(0, 2)) one()
      await new Promise((resolve) => setTimeout(resolve, 50))
      t.equal(stopped, false, 'one is still in hand')
      keep[0]?.()
      await stopping
      t.same(heard.rejects, [])
    },
  )

  void t.test('one that the journal takes its time for is told, and so is its end', async (t) => {
    const { source, say, heard } = make(t, rig.url, 50)
    let keep = (): void => {}
    heard.handle = () => ({ kept: new Promise((resolve) => (keep = resolve)) })
    await source.start(heard)
    await say('1')
    await until('down', () => source.state === 'down')
    t.match(source.reason, /chat.*held up.*the journal has not taken it within 50 ms/)
    keep()
    await until('up', () => source.state === 'up')
    t.same(heard.states, ['up', 'down', 'up'])
  })

  void t.test('one that the journal does not keep is tried again, counted, and told', async (t) => {
    const { source, say, heard } = make(t)
    const failures = [
      new ClientError('unavailable', 'no journal'),
      new ClientError('internal', 'a hiccup'),
      new ClientError('conflict', 'the key came before'),
    ]
    heard.handle = ({ data }) => {
      const failure = data === 1 ? failures.shift() : undefined
      return { kept: failure ? Promise.reject(failure) : Promise.resolve() }
    }
    await source.start(heard)
    await say('1', '2')
    await until('the rejection', () => heard.rejects.length === 1)
    t.match(heard.rejects, [{ code: 'conflict', message: 'the key came before' }])
    await until('the good one', () => heard.data.includes(2))
    t.same(failures, [], 'the first two were tried again')
  })

  void t.test('while the journal is unreachable, it tries on in place and keeps the order', async (t) => {
    const { source, say, heard } = make(t)
    let failures = 12
    heard.handle = () => {
      if (failures-- > 0) throw new ClientError('unavailable', 'no journal')
    }
    await source.start(heard)
    await say('1', '2', '3')
    await until('all three', () => heard.data.length === 3)
    t.same(heard.data, [1, 2, 3])
    t.same(heard.rejects, [])
  })

  void t.test("a sender's own error, or its hanging, is tried again in place, in order", async (t) => {
    const { source, say, heard } = make(t)
    const failures = [new ClientError('internal', 'sender failed'), new ClientError('timeout', 'too long')]
    heard.handle = ({ data }) => {
      const failure = data === 1 ? failures.shift() : undefined
      if (failure) throw failure
    }
    await source.start(heard)
    await say('0', '1', '2')
    await until('all three', () => heard.data.length === 3)
    t.same(heard.data, [0, 1, 2])
    t.same(heard.rejects, [])
  })

  void t.test('one that always fails is given up after its attempts, with the cause told', async (t) => {
    const { source, say, heard } = make(t)
    let attempts = 0
    heard.handle = ({ data }) => {
      if (data !== 1) return
      attempts++
      throw Object.assign(new ClientError('internal', 'chat.sender failed'), { cause: new Error('deadlock') })
    }
    await source.start(heard)
    await say('1', '2')
    await until('the rejection', () => heard.rejects.length === 1)
    await until('the good one', () => heard.data.length === 1)
    t.equal(attempts, 5)
    t.match(heard.rejects, [{ code: 'failed', message: 'chat.sender failed: deadlock' }])
  })

  void t.test(
    'one that holds up those behind it is told, once when it begins and once when it ends',
    async (t) => {
      const { source, say, heard, lines } = make(t)
      let journal = false
      heard.handle = () => {
        if (!journal) throw new ClientError('unavailable', 'no journal')
      }
      await source.start(heard)
      await say('1', '2')
      await until('down', () => source.state === 'down')
      t.match(source.reason, /chat.*held up.*no journal/)
      journal = true
      await until('both', () => heard.data.length === 2)
      await until('up', () => source.state === 'up')
      t.equal(source.reason, null)
      t.same(heard.states, ['up', 'down', 'up'])
      t.same(
        lines.map(({ msg }) => msg),
        ['source is up', 'source is down, trying on', 'source is back'],
      )
    },
  )

  void t.test('what is not JSON is rejected with its reason, and the next one arrives', async (t) => {
    const { source, say, heard } = make(t)
    await source.start(heard)
    await say('{"half":', '2')
    await until('the good one', () => heard.data.length === 1)
    await until('the rejection', () => heard.rejects.length === 1)
    t.match(heard.rejects, [{ code: 'bad_payload', message: /JSON/ }])
    t.same(heard.data, [2])
  })

  void t.test('what can never be handled is rejected with its code, and the next one arrives', async (t) => {
    const { source, say, heard } = make(t)
    heard.handle = async ({ data }) => {
      if (data === 1) throw new ClientError('unknown_channel', 'no such subsystem')
    }
    await source.start(heard)
    await say('1', '2')
    await until('the good one', () => heard.data.length === 1)
    await until('the rejection', () => heard.rejects.length === 1)
    t.match(heard.rejects, [{ code: 'unknown_channel', message: 'no such subsystem' }])
  })

  void t.test(
    'the server is away at the start: it tells, tries on, and is up when the server is',
    async (t) => {
      const { proxy, source, say, heard, lines } = await behindProxy(t)
      proxy.refuse()
      await source.start(heard)
      t.equal(source.state, 'down')
      t.ok(source.reason)
      await until('some attempts', () => proxy.accepted > 4)
      proxy.accept()
      await until('up', () => source.state === 'up')
      t.equal(source.reason, null)
      await say('1')
      await until('the message', () => heard.data.length === 1)
      t.same(heard.states, ['down', 'up'])
      t.same(
        lines.map(({ level, msg }) => [level, msg]),
        [
          ['warn', 'source is down, trying on'],
          ['info', 'source is back'],
        ],
        'one line when it began, one when it ended',
      )
    },
  )

  void t.test(
    'its connection is cut: it comes back, and tells of the gap where there may be one',
    async (t) => {
      const { proxy, source, say, heard, lines } = await behindProxy(t)
      await source.start(heard)
      await say('1')
      await until('the first', () => heard.data.length === 1)
      proxy.cut()
      await until('down', () => heard.states.includes('down'))
      await until('up again', () => source.state === 'up')
      await say('2')
      await until('the second', () => heard.data.includes(2))
      t.same(
        heard.data.filter((data, i) => data !== heard.data[i - 1]),
        [1, 2],
        'where it acknowledges, the cut may have been faster than that of the first',
      )
      t.same(heard.states, ['up', 'down', 'up'])
      t.equal(heard.gaps, rig.keeps ? 0 : 1)
      t.same(
        lines.map(({ msg }) => msg),
        ['source is up', 'source is down, trying on', 'source is back'],
      )
      t.equal(proxy.connections, 1, 'nothing is left of the old connection')
    },
  )

  void t.test('a connection that died without a word is noticed', async (t) => {
    const { proxy, source, say, heard } = await behindProxy(t)
    await source.start(heard)
    proxy.blackhole(true)
    await until('down', () => source.state === 'down', rig.noticedMs)
    t.match(source.reason, /no answer|timeout/i)
    proxy.cut()
    proxy.blackhole(false)
    await until('up again', () => source.state === 'up')
    await say('1')
    await until('a message', () => heard.data.length === 1)
  })

  for (const [when, prepare] of [
    ['the server says nothing to its first connection', { refuse: false, started: false }],
    ['it tries to reach a server that is away', { refuse: true, started: false }],
    ['it tries to come back', { refuse: true, started: true }],
    ['its connection is dead', { refuse: false, started: true }],
  ] as const) {
    void t.test(`a stop while ${when} ends soon, and leaves nothing behind`, async (t) => {
      const { proxy, source, heard } = await behindProxy(t)
      if (prepare.started) await source.start(heard)
      if (prepare.refuse) proxy.refuse()
      else proxy.blackhole(true)
      const starting = source.start(heard)
      if (prepare.refuse && prepare.started) proxy.cut()
      if (prepare.refuse) await until('an attempt', () => proxy.accepted > 1)
      else await until('a connection', () => proxy.connections === 1)
      const began = Date.now()
      await source.stop()
      await starting
      t.ok(Date.now() - began < 3_000, 'soon')
      t.equal(source.state, 'stopped')
      // In a black hole the server does not hear of the end: its side is open until it is cut.
      if (!prepare.refuse) await until('the client to be gone', () => proxy.clients === 0)
      else t.equal(proxy.clients, 0)
      // A connect that was under way is accepted by the kernel, and seen by the proxy a moment later.
      await new Promise((resolve) => setTimeout(resolve, 50))
      const attempts = proxy.accepted
      proxy.blackhole(false)
      proxy.accept()
      await new Promise((resolve) => setTimeout(resolve, 3 * RETRY.maxMs))
      t.equal(proxy.accepted, attempts, 'it does not come back')
    })
  }

  void t.test('a stop before the start is a stop; a start after it does nothing', async (t) => {
    const { source, heard } = make(t)
    await source.stop()
    await source.start(heard)
    t.equal(source.state, 'stopped')
  })

  void t.test('the server is killed and comes back: what is said before and after arrives', async (t) => {
    const { server } = rig
    if (!server) {
      t.equal(process.env['CI'] === 'true', false, 'with CI=true the server must be ours')
      t.comment('skipped: the server is not ours to kill')
      return
    }
    const { source, say, heard, lines } = make(t)
    await source.start(heard)
    await say('1')
    await until('the first', () => heard.data.length === 1)
    await new Promise((resolve) => setTimeout(resolve, server.settleMs ?? 0))
    await server.kill()
    await until('down', () => source.state === 'down')
    await server.restart()
    await until('up', () => source.state === 'up')
    await say('2')
    await until('the second', () => heard.data.includes(2))
    t.same(
      heard.data.filter((data, i) => data !== heard.data[i - 1]),
      [1, 2],
      'where it acknowledges, the first may come twice',
    )
    t.same(heard.states, ['up', 'down', 'up'])
    t.equal(heard.gaps, rig.keeps ? 0 : 1)
    t.equal(lines.filter(({ level }) => level === 'warn').length, 1)
  })
}
