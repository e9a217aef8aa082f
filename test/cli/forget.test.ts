import t from 'tap'
import { install, project } from '../support/installation.ts'

const it = await install(t)

t.test('forget: publications, a channel, a user, by the API of the running daemon', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': `
export default {
  postgres: false, port: 0,
  ACTIONS: { own: { forget: () => 2 } },
  channels: {
    chat: { access: 'public', history: { count: 10 } },
    own: { access: 'user', history: { count: 10 } },
    quotes: { access: 'public', conflate: 'symbol' },
  },
}`,
  })
  const daemon = await it.start(t, [], { cwd })
  const run = (...args: string[]) => it.run(['forget', '--url', daemon.url, ...args], { cwd })
  const publish = async (channel: string, data: unknown): Promise<string> => {
    const response = await fetch(`${daemon.url}/api/publish`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ channel, data }),
    })
    return ((await response.json()) as { id: string }).id
  }
  const ids = [await publish('chat:a', 1), await publish('chat:a', 2), await publish('chat:a', 3)]
  await publish('chat:a', 4)
  await publish('own:42', 1)
  await publish('quotes:x', { symbol: 'A' })

  t.match(await run('--channel', 'chat:a', '--id', ids[0]!), {
    code: 0,
    stdout: /^forgotten: 1 publication, 0 dead letters$/m,
    stderr: '',
  })
  t.match(await run('--channel', 'chat:a', '--id', ids[1]!, ids[2]!), { code: 0, stdout: /2 publications/ })
  const { stdout } = await run('--channel', 'chat:a', '--json')
  t.same(JSON.parse(stdout), { forgotten: 1, letters: 0, missing: [] })
  t.match(await run('--channel', 'quotes:x', '--conflated', 'A'), { code: 0, stdout: /1 publication,/ })
  t.match(await run('--user', '42'), {
    code: 0,
    stdout: /forgotten: 1 publication, 0 dead letters, 2 records of subsystems, 0 places in mailboxes/,
  })
})

t.test('forget: what says nothing that can be forgotten is told, with its exit code', async (t) => {
  const cases: [string[], number, RegExp][] = [
    [[], 2, /USAGE: forget: say one of --channel, --user/],
    [['--channel', 'chat:a', '--user', '42'], 2, /USAGE/],
    [['--channel', 'chat:a'], 3, /DAEMON_UNREACHABLE/],
  ]
  for (const [args, code, stderr] of cases) {
    t.match(await it.run(['forget', '--url', 'http://127.0.0.1:1', ...args]), { code, stderr })
  }
})
