import t from 'tap'
import { install, project } from '../support/installation.ts'

// Which key a publication takes along: --print says whether there is one.

const it = await install(t)

const cwd = await project(t, {
  'livemessages.config.js': `
export default {
  postgres: false, port: 7801, ACTIONS: {}, channels: { chat: { access: 'public' } },
  api: { keys: ['the-first-key-of-the-config'] },
}`,
})

const withKey = async (args: string[], env: Record<string, string> = {}): Promise<boolean> => {
  const { code, stdout } = await it.run(['publish', 'chat:a', '1', '--print', ...args], { cwd, env })
  t.equal(code, 0)
  t.notMatch(stdout, 'the-first-key', 'a key is never printed')
  return stdout.includes('Authorization: Bearer')
}

t.test("the config's key goes to the config's daemon, and nowhere else", async (t) => {
  t.equal(await withKey([]), true)
  for (const url of ['http://127.0.0.1:7801', '127.0.0.1:7801', 'http://127.0.0.1:7801/']) {
    t.equal(await withKey(['--url', url]), true, url)
  }
  for (const url of [
    'http://evil.example',
    'http://127.0.0.1:7802',
    'https://127.0.0.1:7801',
    'http://127.0.0.1.evil.example:7801',
    'http://127.0.0.1.evil.example:7801',
  ]) {
    t.equal(await withKey(['--url', url]), false, url)
  }
})

t.test('a key that is given goes wherever --url says', async (t) => {
  t.equal(await withKey(['--url', 'http://push.example', '--key', 'given']), true)
  t.equal(await withKey(['--url', 'http://push.example'], { LIVEMESSAGES_API_KEY: 'given' }), true)
})

t.test('--amqp without a broker names the variable that says where it is', async (t) => {
  const { code, stderr } = await it.run(['publish', 'chat:a', '1', '--amqp'], { cwd })
  t.equal(code, 2)
  t.match(stderr, /USAGE: .*LIVEMESSAGES_BROKER_URL.*broker\.url/)
})
