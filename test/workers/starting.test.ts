import path from 'node:path'
import t from 'tap'
import { connect } from '../support/client.ts'
import { freePort, install, put } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import {
  configOf,
  folderOf,
  gone,
  groupOf,
  isThere,
  metricsOf,
  onePerWorker,
  type Placed,
  valueOf,
  workersOf,
} from './group.ts'

// How a group of workers begins, takes a new version, and what it does about a version that is broken.

const it = await install(t)
const postgres = await startPostgres(t)
const SERVERS = { postgres: { url: postgres.url }, journal: 'memory' }

const RESTARTS = 'livemessages_worker_restarts_total'

/** In a worker only: what each finds out by itself. */
const FAILS = (port: number): string => `
import cluster from 'node:cluster'
if (cluster.isWorker) throw new Error('not in here')
${configOf({ ...SERVERS, port })}`

t.test('a config that is wrong is told once, by the primary: exit code 2', async (t) => {
  const cwd = await folderOf(t, configOf({ ...SERVERS, pong: 'never', prot: 1 }))
  const { code, stderr, stdout } = await it.run(['start', '--workers', '2'], { cwd })
  t.equal(code, 2)
  t.equal(stderr.match(/CONFIG_INVALID/g)?.length, 1)
  t.match(stderr, '2 problems')
  t.equal(stdout, '')
})

t.test('no worker can start: the reason is told once, with its exit code', async (t) => {
  const cwd = await folderOf(t, FAILS(await freePort()))
  const { code, stderr } = await it.run(['start', '--workers', '3'], { cwd })
  t.equal(code, 2)
  t.equal(stderr.match(/not in here/g)?.length, 1)
  t.match(stderr, /^livemessage: [A-Z_]+: /)
})

t.test(
  'a worker that finds its config broken tries on; that is logged when it begins and when it ends',
  async (t) => {
    const port = await freePort()
    const { daemon, cwd } = await groupOf(t, it, { ...SERVERS, port })
    const [one, two] = (await onePerWorker(
      t,
      daemon,
      workersOf(daemon).map(({ pid }) => pid),
    )) as [Placed, Placed]
    const file = path.join(cwd, 'livemessages.config.js')
    await put(file, FAILS(port))
    process.kill(one.pid, 'SIGKILL')
    await daemon.logged({ msg: 'worker ended', code: 2 })
    await until('some more attempts', async () => valueOf(await metricsOf(daemon), RESTARTS) >= 3)
    t.equal(await two.client.call('chat.pid'), two.pid)
    t.equal(daemon.lines.filter(({ code }) => code === 2).length, 1, 'logged once')
    await put(file, configOf({ ...SERVERS, port }))
    t.match(await daemon.logged({ msg: 'worker is back' }), { worker: 1 })
  },
)

t.test(
  'SIGHUP: each worker takes the new version; what is broken none, and that is logged once',
  async (t) => {
    const port = await freePort()
    const { daemon, cwd } = await groupOf(t, it, { ...SERVERS, port })
    const pids = workersOf(daemon).map(({ pid }) => pid)
    const both = await onePerWorker(t, daemon, pids)
    await put(path.join(cwd, 'pid.js'), `export default () => 'new'`)
    daemon.kill('SIGHUP')
    await until('both', () => daemon.lines.filter(({ msg }) => msg === 'reloaded').length === 2)
    for (const { client } of both) t.equal(await client.call('chat.pid'), 'new')
    t.notOk(
      daemon.lines.some(({ keys }) => keys !== undefined),
      'nothing that is the group’s own counts as changed',
    )

    await put(path.join(cwd, 'livemessages.config.js'), configOf({ ...SERVERS, port, pong: 'never' }))
    daemon.kill('SIGHUP')
    const refused = await daemon.logged({ level: 'error', msg: 'reload refused: the old version goes on' })
    t.match(refused, { reason: /pong/ })
    await put(path.join(cwd, 'livemessages.config.js'), configOf({ ...SERVERS, port: port + 1 }))
    daemon.kill('SIGHUP')
    await until('both', () => daemon.lines.filter(({ msg }) => msg === 'reloaded').length === 4)
    t.equal(daemon.lines.filter(({ msg }) => msg === refused.msg).length, 1)
    t.same(
      daemon.lines.filter(({ keys }) => keys !== undefined).map(({ keys }) => keys),
      [['port']],
      'a change that needs a new process is told once',
    )
    for (const { client } of both) t.equal(await client.call('chat.pid'), 'new', 'on the same connections')
  },
)

t.test('--watch: the primary watches, and all workers reload', async (t) => {
  const { daemon, cwd } = await groupOf(t, it, SERVERS, ['--watch'])
  const reloaded = () =>
    new Set(daemon.lines.flatMap((line) => (line.msg === 'reloaded' ? line['worker'] : [])))
  // What is written before it watches it does not see.
  for (let text = `export default () => 'new'`; reloaded().size < 2; text += ' ') {
    await put(path.join(cwd, 'pid.js'), text)
    await until('a reload', () => reloaded().size === 2, 3000).catch(() => undefined)
  }
  t.equal(await (await connect(t, daemon)).call('chat.pid'), 'new')
})

t.test('an embedded server is one for all: the primary starts it, migrates once, and ends it', async (t) => {
  const cwd = await folderOf(t, configOf({ port: await freePort(), postgres: 'embedded' }))
  t.match(await it.run(['migrate'], { cwd }), { code: 0 })
  const daemon = await it.start(t, ['--workers', '2'], { cwd })
  const pids = workersOf(daemon).map(({ pid }) => pid)
  const both = await onePerWorker(t, daemon, pids)
  await both[0]!.client.subscribe('chat:a')
  t.equal(daemon.lines.filter(({ msg }) => msg === 'embedded PostgreSQL ready').length, 1)
  const { status } = await fetch(`${daemon.url}/readyz`)
  t.equal(status, 200)
  daemon.kill('SIGTERM')
  t.match(await daemon.ended, { code: 0 })
  const stopped = daemon.lines.filter(({ level }) => level !== 'info' && level !== 'debug')
  t.same(stopped, [], 'it outlives its last user')
  await gone(pids)
})

t.test('a unix socket: ws shares it between workers, uWebSockets.js can not and says so', async (t) => {
  const cwd = await folderOf(t, configOf(SERVERS))
  const socket = path.join(cwd, 'socket')
  const refused = await it.run(['start', '--workers', '2', '--socket', socket, '--listener', 'uws'], { cwd })
  t.match(refused, { code: 2, stderr: /workers: .*can't share a unix socket.*listener: 'node'/ })
  const daemon = await it.start(t, ['--workers', '2', '--socket', socket], { cwd })
  t.match(await daemon.logged({ msg: 'listening' }), { address: { socket }, listener: 'node' })
  t.ok(daemon.lines.some(({ level, listener }) => level === 'warn' && listener === 'node'))
  const reached = new Set<unknown>()
  for (let n = 0; n < 10; n++) {
    reached.add(await (await connect(t, `ws+unix:${socket}:/ws`)).call('chat.pid'))
  }
  t.same(reached, new Set(workersOf(daemon).map(({ pid }) => pid)))
  const second = await it.run(['start', '--workers', '2', '--socket', socket], { cwd })
  t.match(second, { code: 3, stderr: /PORT_TAKEN/ })
})

t.test('SIGTERM while they start: nothing listens, nothing is left', async (t) => {
  const cwd = await folderOf(
    t,
    configOf({ ...SERVERS, port: await freePort(), hooks: { start: './start.js' } }),
    {
      'start.js': `export default async ({ log }) => {
        log.info({ pid: process.pid }, 'begun')
        await new Promise(() => setInterval(() => {}, 1000))
      }`,
    },
  )
  const child = it.spawn(t, ['start', '--workers', '2'], { cwd })
  await child.said(/"begun"[^]*"begun"/)
  child.process.kill('SIGTERM')
  const { code, stdout } = await child.ended
  t.equal(code, 0)
  t.notMatch(stdout, '"listening"')
  const pids = [...stdout.matchAll(/"pid":(\d+),"msg":"begun"/g)].map(([, pid]) => Number(pid))
  t.equal(pids.length, 2)
  t.notOk(pids.some(isThere))
})
