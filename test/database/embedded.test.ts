import { readFile } from 'node:fs/promises'
import t from 'tap'
import { isAlive } from '../../src/database/process.ts'
import { ask, daemon, filled, folder, gone, keepersOf, mode, root, start } from '../support/embedded.ts'

await t.test('starts, keeps data, password and port, and starts again quickly', async (t) => {
  const directory = await folder(t)
  const first = await start(t, directory)
  t.equal(await ask(first.url, 'SELECT current_user || current_database()'), 'livemessageslivemessages')
  t.equal(await ask(first.url, 'SHOW fsync'), 'on')
  t.equal(await ask(first.url, 'SHOW listen_addresses'), '127.0.0.1')
  t.equal(await ask(first.url, 'SHOW unix_socket_directories'), '')
  t.match(await ask(first.url, 'SELECT rolpassword FROM pg_authid WHERE rolcanlogin'), /^SCRAM-SHA-256/)
  await ask(first.url, 'CREATE TABLE kept AS SELECT 7 AS n')
  await first.stop()
  t.notOk(isAlive(first.pid))

  const began = performance.now()
  const second = await start(t, directory)
  const ms = performance.now() - began
  t.equal(second.url, first.url)
  t.equal(await ask(second.url, 'SELECT n FROM kept'), 7)
  t.equal(second.adopted, false)
  t.ok(ms < 1000, `the second start took ${Math.round(ms)} ms`)
  await second.stop()
})

await t.test(
  'nobody else can read the password or enter the data, and a wrong password is refused',
  async (t) => {
    const directory = await filled(t)
    const server = await start(t, directory)
    t.equal(await mode(`${directory}/password`), '600')
    t.equal(await mode(`${directory}/server`), '700')
    await t.rejects(ask(server.url.replace(/:[^:@]+@/, ':wrong@'), 'SELECT 1'), { code: '28P01' })
    const environment = root ? (await readFile(`/proc/${server.pid}/environ`, 'latin1')).split('\0') : []
    t.same(
      environment.filter((entry) => /^(LIVEMESSAGES|PG(?!_)|HOME)/.test(entry)),
      [],
    )
  },
)

await t.test('a daemon that is killed leaves no server behind', async (t) => {
  const directory = await filled(t)
  const { kill, pid, url } = await daemon(t, directory)
  t.equal(await ask(url, 'SELECT 1'), 1)
  await kill()
  await gone(pid)
  const again = await start(t, directory)
  t.notMatch(
    await readFile(`${again.directory}/log`, 'utf8'),
    /not properly shut down/,
    'it was an orderly end',
  )
})

await t.test('a second daemon attaches; the server lives until the last has gone', async (t) => {
  const directory = await filled(t)
  const first = await daemon(t, directory)
  const second = await start(t, directory)
  const third = await daemon(t, directory)
  t.match([first.adopted, second.adopted, third.adopted], [false, true, true])
  t.match([second.pid, third.pid, second.url], [first.pid, first.pid, first.url])
  await first.stop()
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  await second.stop()
  t.equal(await ask(first.url, 'SELECT 1'), 1)
  await third.kill()
  await gone(first.pid)
})

await t.test('daemons that start at once on an empty directory share one server', async (t) => {
  const directory = await folder(t)
  const servers = await Promise.all(Array.from({ length: 4 }, () => start(t, directory)))
  t.equal(new Set(servers.map(({ pid }) => pid)).size, 1)
  t.equal(servers.filter(({ adopted }) => !adopted).length, 1)
  for (const { url } of servers) t.equal(await ask(url, 'SELECT 1'), 1)
  for (const server of servers) await server.stop()
  t.notOk(isAlive(servers[0]?.pid ?? 0))
})

await t.test('a server that was left over is adopted, and ends with its new daemon', async (t) => {
  const directory = await filled(t)
  const first = await daemon(t, directory)
  // Its keeper goes with the daemon, as when a whole session is killed: the FIFO has no reader any more.
  for (const pid of await keepersOf(first.home)) process.kill(pid, 'SIGKILL')
  await first.kill()
  t.ok(isAlive(first.pid))
  const second = await daemon(t, directory)
  t.match(second, { pid: first.pid, adopted: true })
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  await second.kill()
  await gone(first.pid)
})

await t.test('a server that is killed with its daemon is started again, on the same port', async (t) => {
  const directory = await filled(t)
  const first = await daemon(t, directory)
  await ask(first.url, 'CREATE TABLE kept AS SELECT 7 AS n')
  process.kill(first.pid, 'SIGKILL')
  await first.kill()
  const second = await start(t, directory)
  t.equal(second.url, first.url)
  t.equal(await ask(second.url, 'SELECT n FROM kept'), 7)
})

await t.test('stop is idempotent, and a second start in the same process attaches', async (t) => {
  const directory = await filled(t)
  const first = await start(t, directory)
  const second = await start(t, directory)
  t.equal(second.adopted, true)
  await Promise.all([first.stop(), first.stop()])
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  await second.stop()
  await second.stop()
  t.notOk(isAlive(first.pid))
})
