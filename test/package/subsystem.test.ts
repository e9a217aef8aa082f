import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { connect } from '../support/client.ts'
import { execute, install, installed, put } from '../support/installation.ts'

// A project of a user's, with the packed daemon and a packed subsystem in it, both from tarballs.

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const QUIET = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts']

const source = await install(t)
const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-subsystem-'))
t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }))
// As root the embedded server runs under another user, who has to enter it.
await chmod(folder, 0o755)
await put(path.join(folder, 'package.json'), '{ "name": "project", "private": true, "type": "module" }')
const tarballs = [
  await pack(source.folder),
  await pack(path.join(REPOSITORY, 'examples', 'packaged-subsystem')),
]
await execute('npm', ['install', ...QUIET, ...tarballs], { cwd: folder })
const it = installed(path.join(folder, 'node_modules', '.bin', 'livemessage'))
const cwd = { cwd: folder }

t.test('a packaged subsystem: in ACTIONS by name, its table by migrate, its notes live', async (t) => {
  await put(
    path.join(folder, 'livemessages.config.ts'),
    `import { defineConfig, secretFile } from 'livemessages'
import { notes, policy } from 'livemessages-notes'

export default defineConfig({
  port: 0,
  ACTIONS: { notes, memos: { write: 'livemessages-notes/add' } },
  channels: { notes: policy },
  auth: { jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) } },
})
`,
  )
  const actions = await it.run(['actions'], cwd)
  t.match(actions, { code: 0, stdout: /notes\.add +action +livemessages-notes\/add/ })
  t.match(actions.stdout, /notes +sender +sender +livemessages-notes\/sender/)
  t.match(actions.stdout, /memos\.write +action +livemessages-notes\/add/, 'one action under another name')
  t.match(await it.run(['migrate', '--dry-run'], cwd), { code: 0, stdout: /-- livemessages-notes 1: note\n/ })
  t.match(await it.run(['migrate'], cwd), {
    code: 0,
    stdout: /applied core 1: .*applied livemessages-notes 1: note/s,
  })
  t.match(await it.run(['migrate'], cwd), { code: 0, stdout: /up to date: core \d+, livemessages-notes 1/ })

  const daemon = await it.start(t, [], cwd)
  const tokenOf = async (user: string): Promise<string> => (await it.run(['token', user], cwd)).stdout.trim()
  const ann = await connect(t, daemon, { token: await tokenOf('ann') })
  const bob = await connect(t, daemon, { token: await tokenOf('bob') })
  await ann.subscribe('notes:ann')
  await t.rejects(bob.subscribe('notes:ann'), { code: 'forbidden' }, "the package's policy")
  t.strictSame(await ann.call('notes.add', { text: 'buy milk' }), { id: 1 })
  t.match(await ann.next({ type: 'message' }), { channel: 'notes:ann', data: { id: 1, text: 'buy milk' } })
  await t.rejects(ann.call('notes.add', { text: '' }), { code: 'invalid_input' })
  t.strictSame(await bob.call('memos.write', { text: 'buy tea' }), { id: 2 })
  t.strictSame(await ann.call('notes.list'), [{ id: 1, text: 'buy milk' }])
  const forgotten = await it.run(['forget', '--user', 'ann', '--url', daemon.url], cwd)
  t.match(forgotten, { code: 0, stderr: '' })
  const other = await connect(t, daemon, { token: await tokenOf('bob') })
  t.strictSame(await other.call('notes.list'), [{ id: 2, text: 'buy tea' }], "another's stay")
  daemon.kill('SIGTERM')
  t.match(await daemon.ended, { code: 0 })
})

t.test('a newer version of the package brings its further steps only', async (t) => {
  const tables = path.join(folder, 'node_modules', 'livemessages-notes', 'tables.js')
  const text = await readFile(tables, 'utf8')
  const step = `{ version: 2, name: 'colour', sql: 'ALTER TABLE livemessages_notes.note ADD colour text' },\n  ],`
  await writeFile(tables, text.replace(/\],\n\};?\n?$/, `${step}\n}\n`))
  t.match(await it.run(['migrate'], cwd), { code: 0, stdout: /^applied livemessages-notes 2: colour\n$/ })
  await writeFile(tables, text)
  t.match(
    await it.run(['migrate'], cwd),
    { code: 0, stdout: /up to date/ },
    'an older one leaves the table as it is',
  )
})

t.test('livemessages/testing from the package, under node:test, with a module in TypeScript', async (t) => {
  await put(
    path.join(folder, 'actions', 'hello.ts'),
    `import { defineAction } from 'livemessages'
interface Name { readonly name: string }
export default defineAction({ access: 'public', handle: (input) => \`hello \${(input as Name).name}\` })
`,
  )
  await put(
    path.join(folder, 'test', 'notes.test.js'),
    `import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startTestDaemon } from 'livemessages/testing'
import { notes, policy } from 'livemessages-notes'

let daemon
before(async () => {
  daemon = await startTestDaemon({
    ACTIONS: { notes, own: { hello: './actions/hello.ts' } },
    channels: { notes: policy },
    postgres: 'embedded',
  })
})
after(() => daemon.stop())

test('a note is live', async () => {
  const ann = await daemon.connect({ user: 'ann' })
  await ann.subscribe('notes:ann')
  assert.deepEqual(await ann.call('notes.add', { text: 'milk' }), { id: 1 })
  assert.deepEqual((await ann.message()).data, { id: 1, text: 'milk' })
  const { rows } = await daemon.db.query('SELECT owner FROM livemessages_notes.note')
  assert.deepEqual(rows, [{ owner: 'ann' }])
})

test('a module in TypeScript, by path', async () => {
  assert.equal(await daemon.call('own.hello', { name: 'Ann' }), 'hello Ann')
  await assert.rejects((await daemon.connect()).call('notes.list'), { name: 'CallError', code: 'unauthenticated' })
})
`,
  )
  // Without a forced end: it resolves when nothing is open any more.
  const { stdout } = await execute(process.execPath, ['--test', 'test/notes.test.js'], {
    ...cwd,
    timeout: 60_000,
  })
  t.match(stdout, /pass 2\n/)
})

t.test('the types of livemessages/testing, as a project sees them', async (t) => {
  await put(
    path.join(folder, 'types.ts'),
    `import { defineAction } from 'livemessages'
import { startTestDaemon, type TestDaemon } from 'livemessages/testing'

const half = defineAction({ handle: (_input, { user }) => ({ user, at: new Date() }) })
const ACTIONS = { sums: { half, other: './other.ts' } } as const

export async function run(): Promise<[string | null, string, unknown]> {
  const daemon: TestDaemon<typeof ACTIONS> = await startTestDaemon({ ACTIONS })
  const ann = await daemon.connect({ user: 'ann' })
  const { user, at } = await ann.call('sums.half')
  // @ts-expect-error no such action
  await ann.call('sums.third')
  return [user, at, await ann.call('sums.other', 1)]
}
`,
  )
  const tsc = path.join(REPOSITORY, 'node_modules', 'typescript', 'bin', 'tsc')
  const strict = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2023']
  const checked = execute(
    process.execPath,
    [tsc, ...strict, '--lib', 'es2023,dom', '--types', '', 'types.ts'],
    cwd,
  )
  await t.resolves(checked)
})

/** The path of the tarball. */
async function pack(from: string): Promise<string> {
  const args = ['pack', from, '--ignore-scripts', '--json', '--pack-destination', folder]
  const { stdout } = await execute('npm', args)
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('['))) as [{ filename: string }]
  return path.join(folder, filename)
}
