import t from 'tap'
import type { Config } from '../../src/config/config.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { ConfigError } from '../../src/errors.ts'

const ACTIONS = { messages: { query: './query.ts', sender: './sender.ts' }, chat: { say: './say.ts' } }

function resolve(calls: unknown): Config['calls'] {
  return resolveConfig({ config: { ACTIONS, calls } }, { root: '/app', file: null }).config.calls
}

function problems(calls: unknown): Record<string, string> {
  try {
    resolve(calls)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return Object.fromEntries(error.problems.map(({ key, message }) => [key, message]))
  }
  return {}
}

t.test('actions are at /call, and where an alias says', async (t) => {
  t.same(resolve(undefined), { prefix: '/call', aliases: new Map(), plain: false })
  t.equal(resolve({ plain: true }).plain, true)
  t.match(problems({ plain: 'yes' }), { 'calls.plain': /true or false/ })
  t.same(resolve({ prefix: '/roles/live', aliases: { '/roles/messages/all': 'messages.query' } }), {
    prefix: '/roles/live',
    aliases: new Map([['/roles/messages/all', 'messages.query']]),
    plain: false,
  })
})

t.test('what the daemon serves itself, and what is no path, is refused with its key', async (t) => {
  for (const prefix of ['', '/', 'call', '/call/', '/a//b', '/a b', '/a?b', '/..', '/a/../b', '/ü', '/*']) {
    t.match(problems({ prefix }), { 'calls.prefix': /such as '\/call'/ }, prefix)
  }
  for (const prefix of ['/api', '/ws', '/publish/x', '/socket.io', '/sse', '/command', '/metrics']) {
    t.match(problems({ prefix }), { 'calls.prefix': /the daemon's own/ }, prefix)
  }
  const found = problems({
    aliases: {
      '/api/roles': 'messages.query',
      '/call/roles': 'messages.query',
      roles: 'messages.query',
      '/a': 'messages.qeury',
      '/b': 'chat',
      '/c': 7,
      '/d': 'messages.query',
    },
  })
  t.match(found, {
    'calls.aliases["/api/roles"]': /the daemon's own/,
    'calls.aliases["/call/roles"]': /names the actions themselves/,
    'calls.aliases.roles': /expected a path/,
    'calls.aliases["/a"]': /did you mean 'messages.query'/,
    'calls.aliases["/b"]': /expected an action/,
    'calls.aliases["/c"]': /expected an action/,
  })
  t.notOk('calls.aliases["/d"]' in found)
  t.match(problems({ prefx: '/x' }), { 'calls.prefx': /did you mean 'prefix'/ })
})

t.test('a reserved module is no action', async (t) => {
  t.match(problems({ aliases: { '/a': 'messages.sender' } }), { 'calls.aliases["/a"]': /expected an action/ })
})
