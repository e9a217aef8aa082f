import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import { createModuleLoader } from '../../src/config/modules.ts'
import type { ModuleLoaderOptions } from '../../src/config/modules.ts'
import { self, write } from './fixtures.ts'

const loaderFor = (root: string, options: Partial<ModuleLoaderOptions> = {}) =>
  createModuleLoader({ root, cache: false, self, ...options })

const call = (value: unknown): unknown => (typeof value === 'function' ? value() : undefined)

t.test('TypeScript of every kind, CommonJS, JSON and packages import one another', async (t) => {
  const root = t.testdir({
    node_modules: {
      esm: {
        'package.json': '{"type":"module","exports":{"./x":{"import":"./x.js"}}}',
        'x.js': 'export const x = import.meta.url',
      },
      cjs: { 'package.json': '{"main":"m.js"}', 'm.js': 'exports.a = 1' },
    },
    'package.json': '{"imports":{"#lib/*":"./lib/*"}}',
    'main.ts': [
      "import { x } from 'esm/x'",
      "import cjs, { a } from 'cjs'",
      "import { Colour, counter, increment, type Unused } from './lib/values.js'",
      "import data from './data.json' with { type: 'json' }",
      "import { sep } from 'node:path'",
      "import { defineAction } from 'livemessages'",
      "import { counter as again } from '#lib/values.ts'",
      "import common from './common.cjs'",
      'class Point { constructor(private readonly x: number) {} get() { return this.x } }',
      'await new Promise((resolve) => setTimeout(resolve, 1))',
      'increment()',
      'export default { x, a, cjs, red: Colour.red, counter, again, data, sep, define: typeof defineAction, common,',
      '  point: new Point(3).get(), url: import.meta.url, dirname: import.meta.dirname, cjsUrl: import.meta.resolve("cjs"),',
      '  lazy: (await import("./lib")).default }',
    ].join('\n'),
    'data.json': '{"k":1}',
    'common.cjs':
      "const { counter } = require('./lib/values.ts'); module.exports = { counter, k: require('./data.json').k, a: require('cjs').a, file: __filename }",
    lib: {
      'values.ts':
        'export enum Colour { red = "RED" }\nexport type Unused = 1\nexport let counter = 0\nexport function increment(): void { counter++ }',
      'index.mts': "export default 'index'",
    },
  })
  const { default: got } = await loaderFor(root).import('./main', root)
  t.match(got, {
    x: pathToFileURL(path.join(root, 'node_modules/esm/x.js')).href,
    a: 1,
    cjs: { a: 1 },
    red: 'RED',
    counter: 1,
    again: 1,
    data: { k: 1 },
    sep: path.sep,
    define: 'function',
    common: { counter: 0, k: 1, a: 1, file: path.join(root, 'common.cjs') },
    point: 3,
    url: pathToFileURL(path.join(root, 'main.ts')).href,
    dirname: root,
    cjsUrl: pathToFileURL(path.join(root, 'node_modules/cjs/m.js')).href,
    lazy: 'index',
  })
})

t.test('another loader takes what changed two imports away; the first keeps what it has', async (t) => {
  for (const ending of ['ts', 'mjs', 'js', 'cjs']) {
    const isCommon = ending === 'cjs'
    const exporting = (text: string) => (isCommon ? `module.exports = ${text}` : `export default ${text}`)
    const importing = (name: string) =>
      isCommon ? `const x = require('./${name}.${ending}')` : `import x from './${name}.${ending}'`
    const root = t.testdir({
      'package.json': '{"type":"module"}',
      [`a.${ending}`]: `${importing('b')}\n${exporting('x')}`,
      [`b.${ending}`]: `${importing('c')}\n${exporting('x')}`,
      [`c.${ending}`]: exporting('1'),
    })
    const first = loaderFor(root)
    t.equal((await first.import(`./a.${ending}`, root))['default'], 1, ending)
    write(root, { [`c.${ending}`]: exporting('2') })
    t.equal((await loaderFor(root).import(`./a.${ending}`, root))['default'], 2, ending)
    t.equal((await first.import(`./a.${ending}`, root))['default'], 1, ending)
    t.strictSame(
      [...first.files],
      ['a', 'b', 'c'].map((name) => path.join(root, `${name}.${ending}`)),
    )
  }
})

t.test(
  "one loader's modules share their state, however and whenever they are imported; another's don't",
  async (t) => {
    const root = t.testdir({
      node_modules: {
        pkg: { 'package.json': '{"type":"module","main":"m.js"}', 'm.js': 'export const list = []' },
      },
      'state.ts': "export { list as packaged } from 'pkg'\nawait 0\nexport const list: string[] = []",
      'a.ts':
        "import { list, packaged } from './state.ts'\nlist.push('a'); packaged.push('a')\nexport { list, packaged }",
      'b.ts':
        "import { list, packaged } from './state'\nlist.push('b'); packaged.push('b')\nexport { list, packaged }",
    })
    const [one, two] = [loaderFor(root), loaderFor(root)]
    const [a, b] = await Promise.all([one.import('./a.ts', root), one.import('./b.ts', root)])
    t.equal(a['list'], b['list'])
    t.strictSame(a['list'], ['a', 'b'])
    const other = await two.import('./a.ts', root)
    t.strictSame(other['list'], ['a'])
    t.equal(other['packaged'], a['packaged'], "packages are Node's, one a process")
  },
)

t.test('circles end, with live bindings', async (t) => {
  const root = t.testdir({
    'a.ts': "import { b } from './b.ts'\nexport const a = () => 'a'\nexport const both = () => a() + b()",
    'b.ts': "import { c } from './c.ts'\nexport const b = () => c()",
    'c.ts': "import { a } from './a.ts'\nawait 0\nexport const c = () => `c${a()}`",
    'self.ts': "import * as me from './self.ts'\nexport const x = 1\nexport default () => me.x",
  })
  const { both } = await loaderFor(root).import('./a.ts', root)
  t.equal(call(both), 'aca')
  const { default: own } = await loaderFor(root).import('./self.ts', root)
  t.equal(call(own), 1)
})

t.test('what fails is evaluated once, fails for all who want it, and is watched', async (t) => {
  const root = t.testdir({
    'bad.ts': "globalThis.evaluations = (globalThis.evaluations ?? 0) + 1\nthrow new Error('no')",
  })
  const told: string[] = []
  const loader = loaderFor(root, { onFile: (file) => told.push(file) })
  await t.rejects(loader.import('./bad.ts', root), { message: 'no' })
  t.strictSame(told, [path.join(root, 'bad.ts')])
  await t.rejects(loader.import('./bad.ts', root), { message: 'no' })
  t.equal(Reflect.get(globalThis, 'evaluations'), 1)
  t.ok(loader.files.has(path.join(root, 'bad.ts')))
  Reflect.deleteProperty(globalThis, 'evaluations')
})

t.test('a module that never finishes is given up, with its name', async (t) => {
  const root = t.testdir({ 'hang.ts': 'await new Promise(() => {})' })
  await t.rejects(loaderFor(root, { deadlineMs: 20 }).import('./hang.ts', root), {
    message: "'./hang.ts' has not finished loading within 0.02 s",
  })
})

t.test("a linked package is the user's own file, loaded anew", async (t) => {
  const root = t.testdir({
    workspace: {
      'package.json': '{"name":"linked","type":"module","main":"m.ts"}',
      'm.ts': 'export const n: number = 1',
    },
    app: { node_modules: {} },
  })
  symlinkSync(path.join(root, 'workspace'), path.join(root, 'app/node_modules/linked'))
  const app = path.join(root, 'app')
  t.match(await loaderFor(app).import('linked', app), { n: 1 })
  write(root, { 'workspace/m.ts': 'export const n: number = 2' })
  t.match(await loaderFor(app).import('linked', app), { n: 2 })
})

t.test("'livemessages' is this package, wherever the user's file is", async (t) => {
  const root = t.testdir({ 'a.ts': "export * from 'livemessages'" })
  t.match(await loaderFor(root).import('./a.ts', root), { defineAction: Function })
  const repository = fileURLToPath(new URL('../../', import.meta.url))
  t.equal(loaderFor('/').resolve('livemessages', '/'), path.join(repository, 'src/index.ts'))
  const say = 'livemessages/actions/chat/say'
  t.equal(loaderFor('/').resolve(say, '/'), path.join(repository, 'actions/chat/say.ts'))
  t.match(await loaderFor(root).import(say, root), { default: { handle: Function } })
})

t.test('what is nowhere is an error that names it and who asked', async (t) => {
  const root = t.testdir({ 'a.ts': "import './b.ts'", 'c.ts': "import 'no-such-package'" })
  const loader = loaderFor(root)
  await t.rejects(loader.import('./a.ts', root), {
    message: `Cannot find module './b.ts' imported from ${root}/a.ts`,
  })
  await t.rejects(loader.import('./c.ts', root), { message: /no-such-package/ })
  await t.rejects(loader.import('no-such-package', root), { message: /no-such-package/ })
  t.throws(() => loader.resolve('./b.ts', root), { message: /Cannot find module/ })
})

t.test(
  'transformed modules are kept, used again, and made anew when the source or the copy changed',
  async (t) => {
    const root = t.testdir({ node_modules: {}, 'a.ts': 'export const n: number = 1' })
    const load = async () => (await loaderFor(root, { cache: true }).import('./a.ts', root))['n']
    t.equal(await load(), 1)
    const folder = path.join(root, 'node_modules/.cache/livemessages')
    const [name = '', ...others] = readdirSync(folder)
    t.strictSame(others, [])
    const copy = path.join(folder, name)
    writeFileSync(copy, readFileSync(copy, 'utf8').replace('= 1', '= 3'))
    t.equal(await load(), 3, 'the copy is what ran')
    write(root, { 'a.ts': 'export const n: number = 2' })
    t.equal(await load(), 2)
    writeFileSync(copy, readFileSync(copy, 'utf8').slice(0, 40))
    t.equal(await load(), 2, 'half a copy is none')
    t.strictSame(readdirSync(folder), [name])
    t.ok(existsSync(copy))
  },
)
