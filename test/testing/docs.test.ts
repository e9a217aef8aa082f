import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { execute } from '../support/installation.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const text = await readFile(path.join(ROOT, 'docs/testing.md'), 'utf8')

t.test('the test that docs/testing.md begins with is one', async (t) => {
  const snippet = /```ts\n([^]*?)```/.exec(text)?.[1] ?? ''
  t.match(snippet, /startTestDaemon/)
  const cancel = `
import { ClientError, defineAction } from 'livemessages'
import { fields, id } from 'livemessages/actions/input'

const sql = 'CREATE TABLE orders (id int, owner text)'
export default defineAction({
  input: fields({ id }),
  migrations: { component: 'orders', migrations: [{ version: 1, name: 'orders', sql }] },
  async handle({ id }, { db, user, publish }) {
    const { rowCount } = await db.query('DELETE FROM orders WHERE id = $1 AND owner = $2', [id, user])
    if (rowCount === 0) throw new ClientError('not_found', 'you have no such order')
    await publish('orders:' + user, { id, status: 'cancelled' })
    return { ok: true }
  },
})`
  const cwd = t.testdir({ 'orders.test.ts': snippet, actions: { orders: { 'cancel.ts': cancel } } })
  const args = ['--import', 'tsx', '--test', 'orders.test.ts']
  const { stdout } = await execute(process.execPath, args, { cwd, timeout: 100_000 })
  t.match(stdout, /pass 1\n[^]*fail 0\n/)
})

t.test('docs/testing.md names every member of a test daemon and of its clients', async (t) => {
  for (const [file, type] of [
    ['daemon.ts', 'interface TestDaemon'],
    ['client.ts', 'class TestClient'],
  ] as const) {
    const source = await readFile(path.join(ROOT, 'src/testing', file), 'utf8')
    const body = source.slice(source.indexOf(type), source.indexOf('\n}\n', source.indexOf(type)))
    const members = [...body.matchAll(/^ {2}(?:readonly |async |get )?([a-z]\w*)(?=[<(:])/gm)].map(
      ([, name]) => name,
    )
    t.ok(members.length > 5, type)
    for (const name of new Set(members)) {
      if (name === 'constructor') continue
      t.match(text, new RegExp(`\`[^\`]*\\b${name}\\b[^\`]*\``), `${type}: ${name}`)
    }
  }
})
