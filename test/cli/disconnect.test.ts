import t from 'tap'
import { signToken } from '../../src/auth/sign.ts'
import { connect } from '../support/client.ts'
import { install, project } from '../support/installation.ts'

const it = await install(t)
const secret = 'a secret that only the tests know'

t.test(
  'disconnect: a user’s connections end; with --revoke its tokens are refused, until it is undone',
  async (t) => {
    const cwd = await project(t, {
      'livemessages.config.json': JSON.stringify({
        postgres: false,
        port: 0,
        ACTIONS: {},
        auth: { jwt: { secret } },
      }),
    })
    const daemon = await it.start(t, [], { cwd })
    const run = (...args: string[]) => it.run(['disconnect', '--url', daemon.url, ...args], { cwd })
    const token = (
      await it.run(['token', 'ann', '--id', 't1', '--subscribe', 'chat:*,news:a'], { cwd })
    ).stdout.trim()

    const first = await connect(t, daemon, { token })
    t.match(await run('--user', 'ann', '--reason', 'bye'), { code: 0, stdout: '1 connection closed\n' })
    t.match(await first.closed, { code: 4405, reason: 'bye' })

    const second = await connect(t, daemon, { token })
    t.match(await run('--user', 'ann', '--revoke', '--for', '1h'), {
      code: 0,
      stdout: /^1 connection closed, refused until \d{4}-/,
    })
    t.match(await second.closed, { code: 4401 })
    await t.rejects(connect(t, daemon, { token }), { code: 'unauthenticated' })
    t.match(await run('--user', 'ann', '--undo'), { code: 0, stdout: 'taken back\n' })
    const third = await connect(t, daemon, { token })
    t.match(await run('--token', 't1', '--revoke'), { code: 0, stdout: /^1 connection closed/ })
    t.match(await third.closed, { code: 4401 })

    for (const args of [
      [],
      ['--user', 'a', '--session', 'b'],
      ['--token', 't1'],
      ['--user', 'a', '--for', '1h'],
      ['--session', 'a', '--database', 'shop'],
      ['--user', 'a', '--revoke', '--for', 'long'],
      ['--user', 'a', '--revoke', '--undo'],
    ]) {
      t.match(await run(...args), { code: 2 }, args.join(' '))
    }
    t.match(await it.run(['token', 'ann', '--publish', 'chat'], { cwd }), { code: 2, stderr: /patterns/ })
  },
)

t.test('a token of a rotation is signed with the first secret of the list', async (t) => {
  const keys = [
    { secret: 'x'.repeat(32), algorithms: ['HS256'] },
    { secret: 'y'.repeat(32), algorithms: ['HS256'] },
  ]
  const one = signToken('ann', keys)
  t.equal(one?.split('.')[2], signToken('ann', keys[0]!)?.split('.')[2])
  t.equal(signToken('ann', []), null)
})
