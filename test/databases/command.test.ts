import t from 'tap'
import { connect } from '../support/client.ts'
import { install, project } from '../support/installation.ts'
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
