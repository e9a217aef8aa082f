import { existsSync } from 'node:fs'
import { chmod, chown, cp, mkdir, rm, stat, symlink } from 'node:fs/promises'
import { pino } from 'pino'
import t from 'tap'
import { findBinaries, prepareBinaries } from '../../src/database/binaries.ts'
import type { Binaries } from '../../src/database/binaries.ts'
import { startEmbedded } from '../../src/database/embedded.ts'
import { ask, daemon, folder, NOBODY, root, start } from '../support/embedded.ts'
import { silent } from '../support/postgres.ts'

await t.test('links and execute bits that npm left out are made, in the package or in a copy', async (t) => {
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
  await t.test('for an ordinary user all is his own', async (t) => {
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

  await t.test('an ordinary user is told whose data it is', async (t) => {
    const directory = await folder(t)
    await start(t, directory).then((server) => server.stop())
    const refused = await daemon(t, directory, { uid: NOBODY })
    t.match(refused, {
      code: 'DATABASE_FAILED',
      message: /belongs to user \d+, and the daemon runs as user 65534/,
    })
  })

  await t.test('for root the server runs as another user, whichever there is', async (t) => {
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

  await t.test(
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
