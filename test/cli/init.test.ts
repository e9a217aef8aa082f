import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { connect } from '../support/client.ts'
import { install, project, put } from '../support/installation.ts'

const it = await install(t)
const FILES = ['livemessages.config.ts', 'actions/hello/greet.ts', '.gitignore']

t.test('init: what it writes passes check, starts with a database of its own, and works', async (t) => {
  const cwd = await project(t, {})
  const ended = await it.run(['init'], { cwd })
  t.match(ended, { code: 0, stderr: '' })
  for (const file of FILES) t.match(ended.stdout, `wrote ${file}\n`)
  t.match(ended.stdout, 'npx livemessage start')
  const checked = await it.run(['check'], { cwd })
  t.match(checked, { code: 0, stdout: /2 modules, subsystems: chat, hello/ })

  const daemon = await it.start(t, ['-p', '0'], { cwd })
  const client = await connect(t, daemon)
  await client.subscribe('hello:everyone')
  t.match(await client.call('hello.greet', { name: 'Ann' }), { text: 'hello, Ann' })
  t.match(await client.next({ type: 'message' }), { channel: 'hello:everyone', data: { text: 'hello, Ann' } })
  t.match((await daemon.logged({ msg: 'listening' }))['parts'], [
    { name: 'node' },
    { name: 'journal postgres' },
    { name: 'bus postgres' },
    { name: 'database' },
    { name: 'http' },
    { name: 'postgres' },
  ])
  // By SQL into the database of the daemon that runs, and by psql's own NOTIFY.
  await client.subscribe('chat:general')
  const sql = await it.run(['publish', 'chat:general', `{"text":"it's SQL"}`, '--sql'], { cwd })
  t.match(sql, { code: 0, stdout: 'committed\n' })
  t.match(await client.next({ type: 'message' }), { data: { text: "it's SQL" } })
  const notify = `notify livemessages, '{"channel":"chat:general","data":{"text":"bare"}}'`
  t.match(await it.run(['psql', '--', '-c', notify], { cwd }), { code: 0, stdout: 'NOTIFY\n' })
  t.match(await client.next({ type: 'message' }), { data: { text: 'bare' } })
  t.match(await it.run(['migrate'], { cwd }), { code: 0, stdout: /^up to date: core \d+\n$/ })
  t.match(await it.run(['psql', '--', '-c', 'select nonsense', '-v', 'ON_ERROR_STOP=1'], { cwd }), {
    code: 1,
  })
})

t.test('init: nothing is overwritten, and what is missing comes', async (t) => {
  const cwd = await project(t, { 'actions/hello/greet.ts': 'mine' })
  const first = await it.run(['init'], { cwd })
  t.equal(first.code, 0)
  t.match(first.stdout, 'kept  actions/hello/greet.ts')
  t.equal(await readFile(path.join(cwd, 'actions/hello/greet.ts'), 'utf8'), 'mine')
  await put(path.join(cwd, 'livemessages.config.ts'), 'mine too')
  const second = await it.run(['init'], { cwd })
  t.equal(second.code, 2)
  t.match(second.stderr, 'FILE_EXISTS')
  t.equal(await readFile(path.join(cwd, 'livemessages.config.ts'), 'utf8'), 'mine too')
})

t.test('init: a config of another ending is one: no second one comes to stand before it', async (t) => {
  const cwd = await project(t, { 'livemessages.config.mjs': 'export default { ACTIONS: {} }' })
  const ended = await it.run(['init'], { cwd })
  t.match(ended.stdout, 'kept  livemessages.config.mjs')
  t.notOk((await readdir(cwd)).includes('livemessages.config.ts'))
})

t.test(
  'init: a folder that may not be written to is told: 2',
  { skip: process.getuid?.() !== 0 },
  async (t) => {
    const cwd = await project(t, {})
    const through = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath]
    const ended = await it.run(['init'], { cwd, through })
    t.equal(ended.code, 2)
    t.match(ended.stderr, /USAGE: can't write .*EACCES/)
  },
)
