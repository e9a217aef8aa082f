import t from 'tap'
import { install } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { gone, groupOf, isThere, metricsOf, onePerWorker, type Placed, valueOf, workersOf } from './group.ts'

// Workers that hang, are stopped, or are not given the time to.

const it = await install(t)
const postgres = await startPostgres(t)
const SERVERS = { postgres: { url: postgres.url }, journal: 'memory' }

t.test('port 0: the primary chooses one for all, and says it', async (t) => {
  const { daemon } = await groupOf(t, it, { ...SERVERS, port: 0 })
  t.ok(daemon.port > 0)
  await onePerWorker(
    t,
    daemon,
    workersOf(daemon).map(({ pid }) => pid),
  )
})

t.test(
  'a worker that hangs: its counters stand still, its gauges are left out, and it is counted',
  async (t) => {
    const { daemon } = await groupOf(t, it, SERVERS)
    const pids = workersOf(daemon).map(({ pid }) => pid)
    const [hung] = (await onePerWorker(t, daemon, pids)) as [Placed]
    const before = valueOf(await metricsOf(daemon), 'livemessages_frames_total')
    process.kill(hung.pid, 'SIGSTOP')
    t.teardown(() => isThere(hung.pid) && process.kill(hung.pid, 'SIGCONT'))
    // A request that the kernel gives to the one that hangs gets no answer.
    const text = await until('metrics', () => metricsOf(daemon), 90_000)
    t.equal(valueOf(text, 'livemessages_workers{state="up"}'), 1)
    t.equal(valueOf(text, 'livemessages_workers{state="silent"}'), 1)
    t.equal(valueOf(text, 'livemessages_connections'), 1)
    t.equal(valueOf(text, 'livemessages_frames_total'), before)
    process.kill(hung.pid, 'SIGCONT')
    await until(
      'both',
      async () => valueOf(await metricsOf(daemon), 'livemessages_connections') === 2,
      60_000,
    )
  },
)

t.test('a second signal ends all at once', async (t) => {
  const { daemon } = await groupOf(t, it, { ...SERVERS, stop: '60s' })
  const pids = workersOf(daemon).map(({ pid }) => pid)
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  daemon.kill('SIGTERM')
  await daemon.logged({ msg: 'stopping' })
  daemon.kill('SIGTERM')
  t.match(await daemon.ended, { code: 143 })
  await gone(pids)
})

t.test('a worker that is stopped by SIGTERM stops gracefully, and another takes its place', async (t) => {
  const { daemon } = await groupOf(t, it, SERVERS)
  const pids = workersOf(daemon).map(({ pid }) => pid)
  const [stopped] = (await onePerWorker(t, daemon, pids)) as [Placed]
  process.kill(stopped.pid, 'SIGTERM')
  t.match(await stopped.client.next({ type: 'reconnect' }), { reason: 'restart' })
  t.match(await daemon.logged({ msg: 'worker ended', pid: stopped.pid }), { level: 'info', code: 0 })
  await daemon.logged({ msg: 'worker is back', worker: 1 })
})
