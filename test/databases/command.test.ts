import path from 'node:path'
import t from 'tap'
import { connect } from '../support/client.ts'
import { freePort, install, project } from '../support/installation.ts'
import { until } from '../support/wait.ts'
import { startSeveral } from './several.ts'

const it = await install(t)
const config = {
  ACTIONS: {},
  channels: { chat: { access: 'public', history: {} } },
}

t.test('-d a,b: migrate prepares all of them, start serves them', async (t) => {
  const several = await startSeveral(t, ['shop', 'blog'], { migrate: false })
  const { url } = several.server
  const cwd = await project(t, {
    'livemessages.config.json': JSON.stringify({ ...config, postgres: { url } }),
  })
  const script = await it.run(['migrate', '-d', 'shop,blog', '--dry-run'], { cwd })
  t.match(script, { code: 0, stdout: /\\connect "blog"\n[^]*set_database\('blog', true\)/ })
  const migrated = await it.run(['migrate', '-d', 'shop,blog'], { cwd })
  t.match(migrated, { code: 0, stderr: '' })
  for (const name of [several.home, 'shop', 'blog']) t.match(migrated.stdout, `${name}: applied core 1`)
  const again = await it.run(['migrate', '-d', 'shop,blog'], { cwd })
  t.match(again.stdout.split('\n'), [/^livemessages: up to date/, /^shop: up to date/, /^blog: up to date/])

  // Before any daemon was there: it waits in the outbox.
  await several.sql('blog', `SELECT livemessage.publish('chat:a', '"early"')`)
  const daemon = await it.start(t, ['-p', '0', '-d', 'shop,blog', '--max-cursor', '3'], { cwd })
  const client = await connect(t, daemon)
  await client.subscribe('chat:a', { last: 10 })
  await several.sql('shop', `SELECT livemessage.publish('chat:a', '"shop"')`)
  t.match(await client.next(({ data }) => data === 'shop'), { channel: 'chat:a' })
  const [row] = await several.sql(several.home, 'SELECT count(*) FROM livemessage.journal')
  t.same(row, { count: '2' }, 'the early one, too')
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text()
  t.match(metrics, 'livemessages_database_connections{database="shop"}')
  t.match(metrics, 'livemessages_outbox_moved_total{database="blog"} 1')
})

t.test('migrate: one database that is not there does not keep the others from it', async (t) => {
  const several = await startSeveral(t, ['blog'], { migrate: false })
  const { url } = several.server
  const cwd = await project(t, {
    'livemessages.config.json': JSON.stringify({ ...config, postgres: { url } }),
  })
  const ended = await it.run(['migrate', '-d', 'shop,blog'], { cwd })
  t.match(ended, { code: 3, stderr: /shop: not migrated[^]*database "shop" does not exist/ })
  t.match(ended.stdout, 'blog: applied core')
})

t.test('-d with the embedded server: it makes the databases', async (t) => {
  const cwd = await project(t, { 'livemessages.config.json': JSON.stringify(config) })
  const daemon = await it.start(t, ['-p', '0', '-d', 'shop'], { cwd })
  t.match((await daemon.logged({ msg: 'listening' }))['parts'], [
    { name: 'node' },
    { name: 'journal postgres' },
    { name: 'bus postgres' },
    { name: 'database' },
    { name: 'database:shop' },
    { name: 'http' },
    { name: 'postgres' },
    { name: 'postgres:shop' },
  ])
})

t.test('-c, -d, -i, -p and --max-cursor are obeyed, and the log has each module with its path', async (t) => {
  const several = await startSeveral(t, ['shop', 'blog'])
  // Six at a time in each database: how many connections that took, the server knows.
  const sessions = `export default {
  access: 'public',
  async handle(_input, { databases }) {
    const count = async (db) => {
      const asked = Array.from({ length: 6 }, () => db.query('SELECT pg_backend_pid() AS pid, pg_sleep(0.5)'))
      return new Set((await Promise.all(asked)).map(({ rows }) => rows[0].pid)).size
    }
    return { shop: await count(databases.shop), blog: await count(databases.blog) }
  },
}`
  const cwd = await project(t, {
    'conf/push.config.json': JSON.stringify({
      ...config,
      ACTIONS: { jobs: { sessions: './actions/sessions.mjs' } },
      postgres: { url: several.server.url },
    }),
    'conf/actions/sessions.mjs': sessions,
  })
  const port = await freePort()
  const args = ['-c', 'conf/push.config.json', '-d', 'shop,blog', '-i', '127.0.0.1', '-p', String(port)]
  const daemon = await it.start(t, [...args, '--max-cursor', '3', '--log-level', 'debug'], { cwd })
  t.match(await daemon.logged({ msg: 'listening' }), { address: { host: '127.0.0.1', port } })
  t.match(await daemon.logged({ msg: 'module loaded' }), {
    subsystem: 'jobs',
    name: 'sessions',
    path: path.join(cwd, 'conf/actions/sessions.mjs'),
  })
  const client = await connect(t, daemon)
  t.strictSame(await client.call('jobs.sessions'), { shop: 3, blog: 3 }, 'each database has its own limit')
  const listening = `SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE application_name = 'livemessages listen' AND datname = current_database()`
  for (const name of [several.home, 'shop', 'blog']) {
    await until(`one LISTEN in ${name}`, async () => (await several.sql(name, listening))[0]?.['n'] === 1)
  }
})
