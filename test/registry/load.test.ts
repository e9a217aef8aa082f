import path from 'node:path'
import t from 'tap'
import { resolveConfig } from '../../src/config/resolve.ts'
import { createModuleLoader } from '../../src/config/modules.ts'
import type { ConfigError } from '../../src/errors.ts'
import { defineAction, defineSender } from '../../src/registry/define.ts'
import type { ActionContext, BaseContext } from '../../src/registry/define.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import type { Registry } from '../../src/registry/registry.ts'
import type { Notification } from '../../src/sources/source.ts'
import { configError, self, write } from '../config/fixtures.ts'

function load(root: string, ACTIONS: object, more: object = {}): Promise<Registry> {
  const file = path.join(root, 'livemessages.config.ts')
  const { config } = resolveConfig({ config: { ACTIONS, ...more } }, { root, file })
  return loadRegistry(config, createModuleLoader({ root, cache: false, self }))
}

async function failure(root: string, ACTIONS: object, more: object = {}): Promise<ConfigError> {
  return configError(load(root, ACTIONS, more))
}

/** Code and message of the one problem with `ACTIONS.x.y`. */
async function problem(root: string, reference: unknown, key = 'y'): Promise<string> {
  const { problems } = await failure(root, { x: { [key]: reference } })
  t.equal(problems.length, 1)
  t.equal(problems[0]?.key, `ACTIONS.x.${key}`)
  return `${problems[0]?.code} ${problems[0]?.message}`
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only what these actions look at
const context = { user: 'ada' } as ActionContext
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nobody looks at it
const baseContext = {} as BaseContext
const notification: Notification = { source: 'http', name: 'x', data: { to: 'ada' } }

t.test('every form of a reference: path, package, export, function, definition', async (t) => {
  const root = t.testdir({
    node_modules: {
      pack: {
        'package.json': '{"type":"module","exports":{"./*":"./*.js"}}',
        'list.js': 'export default () => "packaged"; export const other = () => "other"',
      },
    },
    actions: {
      'say.ts': [
        "import { defineAction } from 'livemessages'",
        "export default defineAction({ timeout: '5s', access: 'public', handle: (input: unknown) => ({ said: input }) })",
      ].join('\n'),
      'many.ts': 'export const read = () => "read"\nexport const notReadCount = () => 0',
      folder: { 'index.mjs': 'export default () => "index"' },
    },
  })
  const registry = await load(root, {
    chat: {
      say: './actions/say.ts',
      bare: './actions/say',
      js: './actions/say.js',
      absolute: path.join(root, 'actions/say.ts'),
      named: './actions/many#read',
      read: './actions/many.ts',
      'not-read-count': './actions/many.ts',
      folder: './actions/folder',
      pack: 'pack/list',
      packed: 'pack/list#other',
      inline: () => 'inline',
      defined: defineAction({ handle: (_input, { user }) => user }),
    },
  })
  const say = path.join(root, 'actions/say.ts')
  const many = path.join(root, 'actions/many.ts')
  t.strictSame(
    registry.modules.map(({ key, path }) => [key, path]),
    [
      ['say', say],
      ['bare', say],
      ['js', say],
      ['absolute', say],
      ['named', `${many}#read`],
      ['read', many],
      ['not-read-count', many],
      ['folder', path.join(root, 'actions/folder/index.mjs')],
      ['pack', 'pack/list'],
      ['packed', 'pack/list#other'],
      ['inline', '(inline)'],
      ['defined', '(inline)'],
    ],
  )
  const call = (name: string) => registry.actions.get(`chat.${name}`)?.handle('hi', context)
  t.strictSame(call('say'), { said: 'hi' })
  t.match(registry.actions.get('chat.say'), {
    subsystem: 'chat',
    name: 'say',
    timeoutMs: 5000,
    access: 'public',
    input: null,
  })
  t.match(registry.actions.get('chat.read'), { timeoutMs: null, access: null, input: null })
  t.strictSame(
    ['named', 'read', 'not-read-count', 'folder', 'pack', 'packed', 'inline', 'defined'].map(call),
    ['read', 'read', 0, 'index', 'packaged', 'other', 'inline', 'ada'],
  )
  t.strictSame([...registry.files].sort(), [path.join(root, 'actions/folder/index.mjs'), many, say])
})

t.test('senders, subscribe hooks and the hooks of connections', async (t) => {
  const root = t.testdir({
    'sender.ts': [
      "import { defineSender } from 'livemessages'",
      'export default defineSender({',
      "  notify: ['message', 'message_new', 'message'], prefix: 'messages:',",
      '  route({ data }) { return this.prefix + data.to }, format({ data }) { return { to: data.to } } })',
    ].join('\n'),
    'hooks.ts':
      'export const connect = () => {}\nexport const disconnect = () => {}\nexport default () => true',
  })
  const route = () => 'tasks:1'
  const registry = await load(
    root,
    {
      messages: { sender: './sender.ts' },
      tasks: { sender: defineSender({ notify: 'message', queue: 'todo', route }), subscribe: './hooks.ts' },
    },
    { hooks: { connect: './hooks.ts#connect', start: () => {} }, channels: { quotes: {} } },
  )
  t.strictSame([...registry.subsystems], ['messages', 'tasks', 'quotes'])
  const sender = registry.senders.get('messages')
  t.match(sender, { notify: ['message', 'message_new'], queue: 'livemessages.messages' })
  t.equal(await sender?.route(notification, baseContext), 'messages:ada', 'called as a method')
  t.strictSame(sender?.format?.(notification, baseContext), { to: 'ada' })
  t.match(registry.senders.get('tasks'), { queue: 'todo', format: null, path: '(inline)' })
  t.strictSame(
    Object.fromEntries(registry.notify),
    { message: ['messages', 'tasks'], message_new: ['messages'] },
    'a NOTIFY name may belong to several',
  )
  t.type(registry.subscribe.get('tasks'), 'function')
  t.match(registry.hooks, {
    connect: Function,
    start: Function,
    disconnect: null,
    authenticate: null,
    message: null,
    call: null,
  })
  t.match(registry.modules, [
    { subsystem: 'messages', key: 'sender', kind: 'sender' },
    { subsystem: 'tasks', key: 'sender', kind: 'sender' },
    { subsystem: 'tasks', key: 'subscribe', kind: 'hook' },
    { subsystem: 'hooks', key: 'connect', kind: 'hook', path: path.join(root, 'hooks.ts#connect') },
    { subsystem: 'hooks', key: 'start', kind: 'hook', path: '(inline)' },
  ])
})

t.test('a path that leads nowhere: what was near', async (t) => {
  const root = t.testdir({ actions: { messages: { 'read.ts': '', 'not-read-count.ts': '' } } })
  t.equal(
    await problem(root, './actions/messages/raed.ts'),
    "ACTION_NOT_FOUND no file './actions/messages/raed.ts' (did you mean './actions/messages/read.ts'?)",
  )
  t.match(await problem(root, './actions/messages/raed'), "did you mean './actions/messages/read.ts'?")
  t.match(await problem(root, './actions/mesages/read.ts'), "did you mean './actions/messages/read.ts'?")
  t.match(await problem(root, './actions/messages/read.tsx'), "did you mean './actions/messages/read.ts'?")
  t.match(await problem(root, '../actions/messages/read.ts'), /^ACTION_NOT_FOUND no file '\.\.\/actions/)
  t.match(
    await problem(root, path.join(root, 'actions/messages/reed.ts')),
    `did you mean '${root}/actions/messages/read.ts'?`,
  )
  t.equal(await problem(root, './x/y/z.ts'), "ACTION_NOT_FOUND no file './x/y/z.ts'")
  t.equal(
    await problem(root, 'actions/messages/read.ts'),
    "ACTION_NOT_FOUND no package 'actions/messages/read.ts' (did you mean './actions/messages/read.ts'?)",
  )
  t.match(
    await problem(root, 'no-such-package/x'),
    /^ACTION_NOT_FOUND no package 'no-such-package\/x' can be found from /,
  )
  t.match(await problem(root, 'livemessages/actions/no/such'), /^ACTION_NOT_FOUND /)
})

t.test('a folder is no module, and says what it holds', async (t) => {
  const root = t.testdir({ actions: { 'read.ts': '', 'notes.txt': '' }, empty: {} })
  t.equal(
    await problem(root, './actions'),
    "ACTION_NOT_A_FILE './actions' is a folder without an index file; it holds read.ts",
  )
  t.equal(await problem(root, './empty/'), "ACTION_NOT_A_FILE './empty/' is a folder without an index file")
})

t.test('a module without the export, or without any', async (t) => {
  const root = t.testdir({
    'none.ts': 'const nothing = 1',
    'types.ts': 'export type Only = string',
    'some.ts': 'export const read = () => 1\nexport const write = () => 2',
  })
  t.equal(
    await problem(root, './some.ts'),
    "ACTION_NO_EXPORT './some.ts' has no export default or 'y'; it exports 'read', 'write'",
  )
  t.match(await problem(root, './types.ts'), /^ACTION_NO_EXPORT .*; it exports nothing$/)
  t.match(await problem(root, './none.ts'), /^ACTION_NO_EXPORT .*; it exports nothing$/)
  t.match(
    await problem(root, './some.ts#raed'),
    "no export raed (did you mean 'read'?); it exports 'read', 'write'",
  )
  t.match(await problem(root, './some.ts#'), 'names no export after its #')
  t.match(await problem(root, './some.ts#toString'), 'no export toString')
})

t.test('a module that throws: what, and where in the file that threw', async (t) => {
  const root = t.testdir({
    'a.ts': "import { b } from './lib/b.ts'\nexport default () => b",
    lib: { 'b.ts': "type T = 1\n\nthrow new RangeError('beyond all')\nexport const b = 1" },
    'c.ts': "import { x } from './gone.ts'\nexport default () => x",
    'd.ts': 'export default () => {\n  if (\n}',
  })
  t.equal(
    await problem(root, './a.ts'),
    `ACTION_THREW './a.ts' threw while it was loaded: RangeError: beyond all (${root}/lib/b.ts:3)`,
  )
  t.match(
    await problem(root, './c.ts'),
    `ACTION_THREW './c.ts' threw while it was loaded: Cannot find module './gone.ts'`,
  )
  t.match(await problem(root, './d.ts'), `${root}/d.ts:`)
  const error = await failure(root, { x: { y: './a.ts' } })
  t.type(error.cause, RangeError)
})

t.test('what has the wrong shape says what was expected of which part', async (t) => {
  class Action {
    handle = () => 1
  }
  const root = t.testdir({ 'text.ts': "export default 'text'" })
  const shape = async (value: unknown, key?: string) => {
    const text = await problem(root, value, key)
    t.match(text, /^ACTION_WRONG_SHAPE /)
    return text
  }
  const handle = () => {}
  t.match(
    await shape('./text.ts'),
    `${root}/text.ts: expected a function or defineAction({ handle }), got 'text'`,
  )
  t.match(await shape({ handle: 5 }), 'handle: expected a function, got 5')
  t.match(
    await shape({ handle, timeout: 'soon' }),
    "timeout: expected a duration such as '5s' or milliseconds, more than 0, got 'soon'",
  )
  t.match(await shape({ handle, timeout: 0 }), 'timeout: expected')
  t.match(await shape({ handle, access: 'user' }), "access: expected 'public' or 'authenticated', got 'user'")
  t.match(await shape({ handle, input: { parse() {} } }), 'input: expected a Standard Schema validator')
  t.match(await shape({ handle, timout: 5 }), "timout: is no key here (did you mean 'timeout'?)")
  t.match(await shape(Action), 'got a class')
  t.match(await shape([]), 'got a list')
  t.match(await shape(defineSender({ route: () => null })), 'expected an action, got a sender')
  t.match(await shape(defineAction({ handle }), 'sender'), 'expected a sender, got an action')
  t.match(await shape(handle, 'sender'), 'expected defineSender({ route }), got a function')
  t.match(await shape({ route: 1 }, 'sender'), 'route: expected a function, got 1')
  t.match(await shape({ route: handle, format: 'x' }, 'sender'), "format: expected a function, got 'x'")
  t.match(await shape({ route: handle, notify: ['x'.repeat(64)] }, 'sender'), 'notify: expected NOTIFY names')
  t.match(
    await shape({ route: handle, notify: 'livemessages' }, 'sender'),
    "notify: 'livemessages' carries publications already",
  )
  t.match(await shape({ route: handle, queue: '' }, 'sender'), "queue: expected a queue's name")
  t.match(
    await shape(defineAction({ handle }), 'subscribe'),
    'expected a function, got an action (defineAction)',
  )
})

t.test('all problems are reported at once, each with its key', async (t) => {
  const root = t.testdir({ 'ok.ts': 'export default () => 1', 'text.ts': 'export default 1' })
  const route = () => null
  const error = await failure(
    root,
    {
      a: {
        ok: './ok.ts',
        gone: './gone.ts',
        'wrong-shape': './text.ts',
        publish: './text.ts',
        unsubscribe: './text.ts',
      },
      b: { many: { handle: 1, timeout: 'x' } },
      c: { sender: { route, queue: 'q' } },
      d: { sender: { route, queue: 'q' } },
    },
    { hooks: { connect: './text.ts', disconnect: './gone.ts' } },
  )
  t.equal(error.exitCode, 2)
  t.match(error.message, `9 problems in ${root}/livemessages.config.ts:`)
  t.strictSame(
    error.problems.map(({ code, key }) => `${code} ${key}`),
    [
      'ACTION_NOT_FOUND ACTIONS.a.gone',
      'ACTION_WRONG_SHAPE ACTIONS.a.wrong-shape',
      'ACTION_WRONG_SHAPE ACTIONS.a.publish',
      'ACTION_WRONG_SHAPE ACTIONS.a.unsubscribe',
      'ACTION_WRONG_SHAPE ACTIONS.b.many',
      'ACTION_WRONG_SHAPE ACTIONS.b.many',
      'ACTION_WRONG_SHAPE ACTIONS.d.sender',
      'ACTION_WRONG_SHAPE hooks.connect',
      'ACTION_NOT_FOUND hooks.disconnect',
    ],
  )
  t.match(error.problems[2]?.message, /text.ts: expected a function/)
})

t.test('migrations come along with the modules that need them, each once', async (t) => {
  const root = t.testdir({})
  const steps = (sql: string) => ({ component: 'mail', migrations: [{ version: 1, name: 'table', sql }] })
  const action = (migrations: unknown) => ({ handle: () => 1, migrations })
  const route = () => null
  const registry = await load(root, {
    mail: {
      read: action(steps('create')),
      all: action(steps('create')),
      sender: { route, migrations: steps('create') },
    },
  })
  t.strictSame(registry.migrations, [steps('create')])
  t.match(await problem(root, action({ component: 'x' })), 'migrations: expected { component, migrations')
  const gap = { component: 'x', migrations: [{ version: 2, name: 'x', sql: 'x' }] }
  t.match(await problem(root, action(gap)), 'expected { version: 1, name, sql } at place 1')
  const error = await failure(root, { mail: { read: action(steps('create')), all: action(steps('drop')) } })
  t.match(error.message, "ACTIONS.mail.all: (inline): migrations: 'mail' has other steps in another module")
})

t.test('names of Object.prototype are names like others', async (t) => {
  const root = t.testdir({})
  const { actions } = await load(root, { constructor: { toString: () => 'mine', valueOf: () => 1 } })
  t.strictSame([...actions.keys()], ['constructor.toString', 'constructor.valueOf'])
  t.equal(actions.get('constructor.hasOwnProperty'), undefined)
})

t.test('a reload takes a dependency that changed two imports away', async (t) => {
  const root = t.testdir({
    'say.ts': "import { text } from './lib/a.ts'\nexport default () => text",
    lib: { 'a.ts': "export { text } from './b.ts'", 'b.ts': "export const text: string = 'old'" },
  })
  const ACTIONS = { chat: { say: './say.ts' } }
  const old = await load(root, ACTIONS)
  t.strictSame(old.files.size, 3)
  write(root, { 'lib/b.ts': "export const text: string = 'new'" })
  const fresh = await load(root, ACTIONS)
  t.equal(old.actions.get('chat.say')?.handle(null, context), 'old')
  t.equal(fresh.actions.get('chat.say')?.handle(null, context), 'new')
})
