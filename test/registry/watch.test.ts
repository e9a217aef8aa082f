import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Log } from '../../src/ops/log.ts'
import { Repeated } from '../../src/ops/repeated.ts'
import type { LoadedModule } from '../../src/registry/registry.ts'
import { Watch } from '../../src/registry/watch.ts'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { until } from '../support/wait.ts'

// Modules that hold up the event loop, and with it everyone, are named.

function block(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

interface Setup {
  readonly watch: Watch
  readonly blocked: Map<string, number>
  readonly lines: object[]
}

/** A busy machine would give the process less: by default it computes all the time. */
function setup(limitMs = 50, cpuMs = (): number => performance.now()): Setup {
  const lines: object[] = []
  const blocked = new Map<string, number>()
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is called of it
  const log = { warn: (fields: object, msg: string) => lines.push({ ...fields, msg }) } as unknown as Log
  const modules = (): LoadedModule[] =>
    ['say', 'inner', 'outer', 'slow'].map((key) => ({
      subsystem: 'chat',
      key,
      kind: 'action',
      path: `/app/chat.${key}.ts`,
    }))
  const repeated = new Repeated(1, 60_000)
  const watch = new Watch({ log, blocked, limitMs: () => limitMs, modules, cpuMs, repeated })
  return { watch, blocked, lines }
}

t.test('what a module did until its first await is measured, and said once a minute', async (t) => {
  const { watch, blocked, lines } = setup()
  for (const ms of [0, 70, 80]) {
    const began = performance.now()
    block(ms)
    watch.ran('chat.say', began)
  }
  t.match(lines, [{ subsystem: 'chat', action: 'say', path: '/app/chat.say.ts', msg: /held up/ }])
  t.equal(lines.length, 1)
  t.ok((blocked.get('chat.say') ?? 0) >= 0.15)
})

t.test('who is called by another answers for its own time only', async (t) => {
  const { watch, blocked } = setup()
  const outer = performance.now()
  const inner = performance.now()
  block(70)
  watch.ran('chat.inner', inner)
  watch.ran('chat.outer', outer)
  t.strictSame([...blocked.keys()], ['chat.inner'])
})

t.test('a turn that nobody was measured in is told of with those that were at work', async (t) => {
  const { watch, blocked, lines } = setup()
  watch.start()
  t.teardown(() => watch.stop())
  watch.wait({ subsystem: 'chat', action: 'slow' })
  watch.wait({ subsystem: 'chat', action: 'slow' })
  watch.wait({ subsystem: 'chat', action: 'say' })
  await sleep(1)
  block(300)
  await until('the timer', () => blocked.has('unknown'))
  t.match(lines, [{ underway: ['chat.slow', 'chat.say'], blockedMs: Number, cpuMs: Number, msg: /held up/ }])
})

t.test('who alone was at work is named, if the time went into computing', async (t) => {
  for (const [share, module] of [
    [1, 'chat.slow'],
    [0.1, 'unknown'],
  ] as const) {
    const { watch, blocked, lines } = setup(50, () => share * performance.now())
    watch.start()
    t.teardown(() => watch.stop())
    watch.wait({ subsystem: 'chat', action: 'slow' })
    await sleep(1)
    block(300)
    await until('the timer', () => blocked.size > 0)
    t.strictSame([...blocked.keys()], [module])
    t.match(lines, [{ underway: ['chat.slow'], path: share === 1 ? '/app/chat.slow.ts' : undefined }])
    watch.stop()
  }
})

t.test('a turn that was measured is not told of twice', async (t) => {
  const { watch, blocked } = setup(100)
  watch.start()
  t.teardown(() => watch.stop())
  await sleep(1)
  const began = performance.now()
  block(1000)
  watch.ran('chat.say', began)
  await sleep(300)
  // A busy machine may hold up the process by itself, but not for as long.
  t.ok((blocked.get('unknown') ?? 0) < 0.9)
})

t.test('an action, a hook and a continuation that block: in the log and in the metric', async (t) => {
  const daemon = await startDaemon(t, {
    ACTIONS: {
      heavy: {
        atOnce: () => block(150),
        later: async () => {
          await sleep(1)
          block(400)
        },
        sender: { route: () => (block(150), null) },
      },
    },
    channels: { heavy: { access: 'public' } },
    hooks: { connect: () => block(150) },
  })
  const client = await connect(t, daemon)
  await client.call('heavy.atOnce')
  await client.call('heavy.later')
  t.match(await daemon.logged({ action: 'atOnce', msg: 'a module held up the event loop' }), {
    level: 'warn',
    subsystem: 'heavy',
    path: '(inline)',
    blockedMs: Number,
  })
  await daemon.logged({ subsystem: 'hooks', action: 'connect', msg: 'a module held up the event loop' })
  await until('the continuation', () =>
    daemon.lines.find(({ underway }) => String(underway) === 'heavy.later'),
  )
  const { blocked } = daemon.daemon.counts
  t.ok((blocked.get('heavy.atOnce') ?? 0) >= 0.15)
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text()
  t.match(metrics, /^livemessages_blocked_seconds_total\{module="heavy\.atOnce"\} 0\.\d+$/m)
  t.match(metrics, /^livemessages_blocked_seconds_total\{module="(?:unknown|heavy\.later)"\} \d+\.\d+$/m)
})
