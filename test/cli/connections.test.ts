import t from 'tap'
import { connect } from '../support/client.ts'
import { install, project } from '../support/installation.ts'

const it = await install(t)

t.test('connections: who is connected, as a table and as JSON', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': `
export default { postgres: false, port: 0, ACTIONS: {}, channels: { chat: { access: 'public' } } }`,
  })
  const daemon = await it.start(t, [], { cwd })
  const [one] = await Promise.all([connect(t, daemon), connect(t, daemon)])
  for (const room of ['a', 'b', 'c', 'd']) await one.subscribe(`chat:${room}`)
  const session = String(one.welcome?.['session'])
  const run = (...args: string[]) => it.run(['connections', '--url', daemon.url, ...args], { cwd })

  const all = await run()
  t.match(all, { code: 0, stderr: '' })
  t.equal(all.stdout.trim().split('\n').length, 3)
  t.match(all.stdout, /^SESSION +USER +ADDRESS +TRANSPORT +SINCE +NODE +CHANNELS$/m)
  t.match(
    all.stdout,
    new RegExp(`^${session} +- +127.0.0.1 +websocket +.+ chat:a chat:b chat:c … \\(4\\)$`, 'm'),
  )

  const { stdout } = await run('--channel', 'chat:d', '--json')
  t.match(JSON.parse(stdout), { count: 1, connections: [{ session }], missing: [] })
  t.match((await run('--limit', '1')).stdout, /^1 more$/m)
  t.match(await run('--limit', 'many'), { code: 2, stderr: /DAEMON_REFUSED.*limit/ })
})

t.test(
  'connections: no daemon is told, with the exit code of something that can not be reached',
  async (t) => {
    const ended = await it.run(['connections', '--url', 'http://127.0.0.1:1'])
    t.match(ended, { code: 3, stderr: /DAEMON_UNREACHABLE: no daemon answers at http:\/\/127.0.0.1:1/ })
  },
)
