import type { Test } from 'tap'
import { CORE, migrate } from '../../src/database/migrate.ts'
import { install, type RunningDaemon } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import {
  ask,
  gone,
  groupOf,
  isThere,
  metricsOf,
  onePerWorker,
  type Placed,
  valueOf,
  workersOf,
} from './group.ts'

/** What clients see of two workers on one port, and what they don't: the same by either engine. */
export async function sharing(t: Test, listener: 'uws' | 'node'): Promise<void> {
  const it = await install(t)
  const postgres = await startPostgres(t)
  await migrate(postgres.url, { components: [CORE] })
  const CONFIG = { listener, postgres: { url: postgres.url } }

  t.test(`${listener}: connections reach both workers, metrics are of both`, async (t) => {
    const { daemon } = await groupOf(t, it, CONFIG)
    const workers = workersOf(daemon)
    t.match(workers, [{ worker: 1 }, { worker: 2 }])
    t.equal(daemon.lines.filter(({ msg }) => msg === 'listening').length, 1, 'said once')
    t.ok(
      daemon.lines.some(({ worker }) => worker === 2),
      'what a worker logs names it',
    )
    const [one] = await onePerWorker(
      t,
      daemon,
      workers.map(({ pid }) => pid),
    )
    t.same(await one!.client.call('chat.env'), [], 'modules and their children see no trace of it')
    const text = await metricsOf(daemon)
    t.equal(valueOf(text, 'livemessages_connections'), 2)
    t.ok(valueOf(text, 'livemessages_calls_total') >= 3)
    t.equal(valueOf(text, 'livemessages_part_up{part="database"}'), 1, 'not 2')
    t.equal(valueOf(text, 'livemessages_workers{state="up"}'), 2)
    t.equal(valueOf(text, 'livemessages_worker_restarts_total'), 0)
  })

  t.test(`${listener}: what is published at one worker reaches the clients of both`, async (t) => {
    const { daemon } = await groupOf(t, it, {
      ...CONFIG,
      channels: { chat: { access: 'public', history: { count: 100 } } },
    })
    const both = await onePerWorker(
      t,
      daemon,
      workersOf(daemon).map(({ pid }) => pid),
    )
    for (const { client } of both) await client.subscribe('chat:a')
    const ids = []
    for (let n = 1; n <= 10; n++) ids.push(await publish(daemon, 'chat:a', n))
    for (const { client } of both) {
      for (let n = 1; n <= 10; n++) {
        t.match(await client.next({ type: 'message' }), { data: n, id: ids[n - 1] })
      }
    }
  })

  t.test(`${listener}: one is killed: the clients of the other stay, and it comes back`, async (t) => {
    const { daemon } = await groupOf(t, it, CONFIG)
    const pids = workersOf(daemon).map(({ pid }) => pid)
    const [lost, kept] = (await onePerWorker(t, daemon, pids)) as [Placed, Placed]
    const before = valueOf(await metricsOf(daemon), 'livemessages_connections_total')
    process.kill(lost.pid, 'SIGKILL')
    t.match(await lost.client.closed, { code: 1006 })
    t.match(await daemon.logged({ msg: 'worker ended' }), { worker: 1, pid: lost.pid, signal: 'SIGKILL' })
    t.match(await daemon.logged({ msg: 'worker is back' }), { worker: 1 })
    t.equal(await kept.client.call('chat.pid'), kept.pid, 'the other one noticed nothing')
    const now = await metricsOf(daemon)
    t.equal(valueOf(now, 'livemessages_worker_restarts_total'), 1)
    t.equal(valueOf(now, 'livemessages_workers{state="up"}'), 2)
    t.equal(valueOf(now, 'livemessages_connections'), 1, 'its connections are gone')
    t.equal(valueOf(now, 'livemessages_connections_total'), before, 'what it had counted is not')
    const back = Number((await daemon.logged({ msg: 'worker is back' }))['pid'])
    await onePerWorker(t, daemon, [back])
  })

  t.test(`${listener}: SIGTERM: all clients are told, all processes end, exit code 0`, async (t) => {
    const { daemon } = await groupOf(t, it, CONFIG)
    const pids = workersOf(daemon).map(({ pid }) => pid)
    const both = await onePerWorker(t, daemon, pids)
    daemon.kill('SIGTERM')
    for (const { client } of both) {
      t.match(await client.next({ type: 'reconnect' }), { reason: 'restart' })
      t.match(await client.closed, { code: 1012 })
    }
    t.match(await daemon.ended, { code: 0, signal: null, stderr: '' })
    t.match(daemon.lines.at(-1), { msg: 'stopped' })
    t.notOk(pids.some(isThere), 'no process is left')
  })

  t.test(`${listener}: nobody else gets the port, whatever its interface`, async (t) => {
    const { daemon, cwd } = await groupOf(t, it, CONFIG)
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      for (const more of [
        ['--workers', '1'],
        ['--workers', '2'],
        ['--listener', 'node', '--workers', '1'],
      ]) {
        const second = await it.run(['start', '-i', host, ...more], { cwd })
        t.match(
          second,
          { code: 3, stderr: /^livemessage: PORT_TAKEN: [^\n]*\n$/ },
          `${host} ${more.join(' ')}`,
        )
      }
    }
    await onePerWorker(
      t,
      daemon,
      workersOf(daemon).map(({ pid }) => pid),
    )
  })

  t.test(`${listener}: the primary is killed: its workers tell their clients, and end`, async (t) => {
    const { daemon } = await groupOf(t, it, CONFIG)
    const pids = workersOf(daemon).map(({ pid }) => pid)
    const both = await onePerWorker(t, daemon, pids)
    const { pid } = daemon.lines.find(({ msg }) => msg === 'listening') as { pid?: number }
    process.kill(Number(pid), 'SIGKILL')
    for (const { client } of both) {
      t.match(await client.next({ type: 'reconnect' }), { reason: 'restart' })
      t.match(await client.closed, { code: 1012 })
    }
    await gone(pids)
    await daemon.logged({ msg: 'the primary process is gone: stopping' })
  })
}

async function publish(daemon: RunningDaemon, channel: string, data: unknown): Promise<unknown> {
  const { status, text } = await ask(daemon, `/publish?channel=${channel}`, data)
  if (status !== 200) throw new Error(`status ${status}: ${text}`)
  return (JSON.parse(text) as { id?: unknown }).id
}
