import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { configError, load, write } from './fixtures.ts'

const TS = `import { defineConfig } from 'livemessages'
const port: number = 1234
export default defineConfig({ port, ACTIONS: {} })
`

t.test('finds the config in the folder or above it, whatever its kind', async (t) => {
  for (const [name, text] of Object.entries({
    'livemessages.config.ts': TS,
    'livemessages.config.js': 'module.exports = { port: 1234, ACTIONS: {} }',
    'livemessages.config.mjs': 'export default await Promise.resolve({ port: 1234, ACTIONS: {} })',
    'livemessages.config.json': '{ "port": 1234, "ACTIONS": {} }',
    'package.json': '{ "livemessages": { "port": 1234, "ACTIONS": {} } }',
  })) {
    const root = t.testdir({ sub: { 'package.json': '{ "name": "unconcerned" }', deep: {} }, [name]: text })
    const { config, loader, warnings } = await load(path.join(root, 'sub', 'deep'))
    t.match(config, { port: 1234, root, file: path.join(root, name) }, name)
    t.ok(loader.files.has(path.join(root, name)))
    t.strictSame(warnings, [])
  }
})

t.test('a named config is loaded from where it is, and paths start from there', async (t) => {
  const root = t.testdir({ conf: { 'push.ts': TS } })
  t.match((await load(root, { file: 'conf/push.ts' })).config, { port: 1234, root: path.join(root, 'conf') })
})

t.test('a function may make the config, and may wait', async (t) => {
  const root = t.testdir({
    'livemessages.config.ts': 'export default async () => ({ port: 5, ACTIONS: {} })',
  })
  t.equal((await load(root)).config.port, 5)
  write(root, { 'livemessages.config.ts': 'export default () => new Promise(() => {})' })
  const error = await configError(load(root, { loader: { deadlineMs: 20 } }))
  t.match(error, {
    code: 'CONFIG_UNREADABLE',
    message: /the exported function has not finished within 0\.02 s/,
  })
})

t.test('no config: says where it looked, what was near, and how to get one', async (t) => {
  // not below this repository, which has a config
  const root = mkdtempSync(path.join(realpathSync(tmpdir()), 'livemessages-test-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  write(root, { 'livemessage.config.ts': TS })
  const error = await configError(load(root))
  t.match(error, { code: 'CONFIG_NOT_FOUND', exitCode: 2 })
  t.match(error.message, root)
  t.match(error.message, "did you mean 'livemessage.config.ts'?")
  t.match(error.message, "'livemessage init'")
  t.match(await configError(load(root, { file: 'other.ts' })), {
    code: 'CONFIG_NOT_FOUND',
    message: /no such file/,
  })
  t.match(await configError(load(root, { file: '.' })), {
    code: 'CONFIG_NOT_FOUND',
    message: /expected a file/,
  })
  t.match(await configError(load(path.join(root, 'gone'))), { code: 'CONFIG_NOT_FOUND' })
})

t.test('a config that throws: what and where, in the file that threw', async (t) => {
  const root = t.testdir({
    'livemessages.config.ts': "import './lib/a.ts'\nexport default { ACTIONS: {} }",
    lib: {
      'a.ts': "type X = {\n  a: 1\n}\n\nimport { boom } from './b.ts'\nboom()\n",
      'b.ts':
        "interface Y {\n  b: 2\n}\nexport function boom() {\n  throw new TypeError('no such luck')\n}\n",
    },
  })
  const error = await configError(load(root))
  t.equal(error.code, 'CONFIG_UNREADABLE')
  t.match(error.message, `TypeError: no such luck (${root}/lib/b.ts:5)`)
  t.type(error.cause, TypeError)
  // its code makes a search that asks the error go on as if there were no config
  write(root, {
    'lib/b.ts': "import fs from 'node:fs'\nexport const boom = () => fs.readFileSync('/gone/away')",
  })
  const missing = await configError(load(root))
  t.match(missing, { code: 'CONFIG_UNREADABLE', message: /ENOENT/ })
  t.match(missing.message, `${root}/lib/b.ts:2`)
  write(root, { 'lib/b.ts': "export const boom = () => { throw 'a text' }" })
  t.match(await configError(load(root)), { code: 'CONFIG_UNREADABLE', message: /a text/ })
  write(root, {
    'lib/b.ts': "throw new Error('connecting to postgres://u:hunter2@db failed')\nexport const boom = 1",
  })
  t.notMatch((await configError(load(root))).message, 'hunter2')
})

t.test("what doesn't parse is named with its line", async (t) => {
  const root = t.testdir({
    'livemessages.config.ts': 'export default {\n  ACTIONS: {},,\n}\n',
    js: { 'livemessages.config.js': 'module.exports = {\n  ACTIONS: {}\n' },
    json: { 'livemessages.config.json': '{ "port": }' },
    package: { 'package.json': '{ "livemessages": ' },
    missing: { 'livemessages.config.mjs': "import './gone.ts'\nexport default {}" },
    empty: { 'livemessages.config.json': '' },
  })
  const of = async (folder: string) => {
    const error = await configError(load(path.join(root, folder)))
    t.equal(error.code, 'CONFIG_UNREADABLE', folder)
    return error.message
  }
  t.match(await of('.'), `livemessages.config.ts:2)`)
  t.match(await of('js'), `livemessages.config.js:`)
  t.match(await of('json'), 'livemessages.config.json')
  t.match(await of('package'), 'package.json')
  t.match(
    await of('missing'),
    `Cannot find module './gone.ts' imported from ${root}/missing/livemessages.config.mjs`,
  )
  t.match(await of('empty'), 'livemessages.config.json')
})

t.test('no default export, or one that is no config', async (t) => {
  const root = t.testdir({ 'livemessages.config.ts': 'export const config = { ACTIONS: {} }' })
  t.match(await configError(load(root)), {
    code: 'CONFIG_INVALID',
    message: /expected a default export, got only 'config'/,
  })
  write(root, { 'livemessages.config.ts': 'export {}' })
  t.match(await configError(load(root)), { message: /got no exports/ })
  write(root, { 'livemessages.config.ts': 'export default 5' })
  t.match(await configError(load(root)), { message: /config: expected an object with .*, got 5/ })
})

t.test('invalid in three places: one error tells all three, with the file', async (t) => {
  const root = t.testdir({
    'livemessages.config.ts': 'export default { port: "x", chanels: {}, ACTIONS: {}, ping: -1 }',
  })
  const error = await configError(load(root))
  t.strictSame(error.problems.map(({ key }) => key).sort(), ['chanels', 'ping', 'port'])
  t.match(error.message, `3 problems in ${root}/livemessages.config.ts:\n`)
})

t.test('all layers together: flag, environment, config, INI, default', async (t) => {
  const root = t.testdir({
    'livemessages.config.ts':
      "export default { ACTIONS: {}, postgres: { url: 'postgres://c/app', maxConnections: 3 } }",
    'livemessages.ini': [
      '; as the predecessor had it',
      '[other]',
      'PORT = 1',
      '[livemessages]',
      'PORT: 7000',
      'postgres_mincon = 2',
      'POSTGRES_MAXCON = 30',
      'POSTGRES_CLEANUP_TIMEOUT=20',
      'BROKER_HOST = rabbit',
      'COLOUR = red',
    ].join('\n'),
  })
  const { config, warnings } = await load(root, {
    env: { LIVEMESSAGES_POSTGRES_URL: 'postgres://e/app', LIVEMESSAGES_PORT: '8000' },
    flags: { address: ':9000' },
  })
  t.match(config, {
    port: 9000,
    host: '127.0.0.1',
    broker: { url: 'amqp://rabbit' },
    postgres: { url: 'postgres://e/app', minConnections: 2, maxConnections: 3, cleanupTimeoutMs: 20_000 },
  })
  t.strictSame(warnings, [`COLOUR in ${root}/livemessages.ini is no setting`])
})

t.test('the INI file may be named, by the config or by a flag, and is then asked for', async (t) => {
  const root = t.testdir({
    'livemessages.config.ts': "export default { ACTIONS: {}, ini: './etc/push.ini' }",
    'flag.ini': '[LiveMessages]\nPORT=2',
    etc: { 'push.ini': '[livemessages]\nPORT=1', 'none.ini': 'PORT=1' },
  })
  t.equal((await load(root)).config.port, 1)
  t.equal((await load(root, { flags: { ini: 'flag.ini' } })).config.port, 2)
  t.match(await configError(load(root, { flags: { ini: 'gone.ini' } })), {
    code: 'INI_UNREADABLE',
    message: /ENOENT/,
  })
  t.match(await configError(load(root, { flags: { ini: 'etc/none.ini' } })), {
    code: 'INI_UNREADABLE',
    message: /expected a section \[livemessages\], found none/,
  })
})

t.test('where nothing can be kept, the config is loaded all the same', async (t) => {
  const root = t.testdir({ node_modules: { '.cache': 'in the way' }, 'livemessages.config.ts': TS })
  const before = process.env['TMPDIR']
  process.env['TMPDIR'] = path.join(root, 'livemessages.config.ts')
  t.teardown(() => {
    if (before === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = before
  })
  t.equal((await load(root, { loader: { cache: true } })).config.port, 1234)
})
