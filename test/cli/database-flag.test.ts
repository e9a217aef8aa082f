import t from 'tap'
import { startSeveral } from '../databases/several.ts'
import { connect } from '../support/client.ts'
import { install, project } from '../support/installation.ts'
import { PSQL, skipWithout } from '../support/packages.ts'

const it = await install(t)

t.test('user 42 of a further database: token, connections, disconnect and psql can name it', async (t) => {
  const several = await startSeveral(t, ['shop'])
  const cwd = await project(t, {
    'livemessages.config.json': JSON.stringify({
      ACTIONS: {},
      port: 0,
      postgres: { url: several.server.url, databases: ['shop'] },
      auth: { jwt: { secret: 'a secret that only the tests know' } },
    }),
  })
  const daemon = await it.start(t, [], { cwd })
  const run = (command: string, ...args: string[]) =>
    it.run([command, '--url', daemon.url, '--user', '42', ...args], { cwd })
  const token = async (...args: string[]) => (await it.run(['token', '42', ...args], { cwd })).stdout.trim()

  const home = await connect(t, daemon, { token: await token() })
  const shop = await connect(t, daemon, { token: await token('--database', 'shop') })
  const shown = await run('connections', '--database', 'shop')
  t.match(shown.stdout, new RegExp(`^${String(shop.welcome?.['session'])} +42 of shop +`, 'm'))
  t.equal(shown.stdout.trim().split('\n').length, 2)
  t.match((await run('connections')).stdout, new RegExp(`^${String(home.welcome?.['session'])} +42  +`, 'm'))

  t.match(await run('disconnect', '--database', 'shpo'), { code: 2, stderr: /got 'shpo'/ })
  t.match(await run('disconnect', '--database', 'shop'), { code: 0, stdout: '1 connection closed\n' })
  t.match(await shop.closed, { code: 4405 })
  t.match(await home.ask({ type: 'ping' }), { type: 'pong' })

  await t.test('psql -d', { skip: skipWithout(PSQL) }, async (t) => {
    const asked = await it.run(['psql', '-d', 'shop', '--', '-Atc', 'select current_database()'], { cwd })
    t.match(asked, { code: 0, stdout: 'shop\n' })
  })
})
