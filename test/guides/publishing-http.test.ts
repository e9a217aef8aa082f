import t from 'tap'
import { CURL, PHP, PYTHON_REQUESTS, skipWithout } from '../support/packages.ts'
import { startShop } from './shop.ts'
import { folderWith, PYTHON, readPage, run } from './snippets.ts'

t.setTimeout(120_000)

const { env, listen } = await startShop(t)
const page = await readPage('publishing/http.md')

t.test(
  'docs/publishing/http.md: curl, from this machine and with a key',
  { skip: skipWithout(CURL) },
  async (t) => {
    const client = await listen('42', 'orders:42')
    const answer = await run(['sh', '-euc', page.snippet('publish.sh')], { env })
    const message = await client.next({ type: 'message' })
    t.same(message['data'], { id: 1, status: 'paid' })
    t.same(JSON.parse(answer), { id: message['id'] })
    await run(['sh', '-euc', page.snippet('key.sh')], { env })
    t.same((await client.next({ type: 'message' }))['data'], { id: 1, status: 'shipped' })
    const again = await run(['sh', '-euc', page.snippet('key.sh')], { env })
    t.match(JSON.parse(again), { id: String })
    t.same(client.rest('message'), [], 'the key makes it once')
  },
)

t.test("docs/publishing/http.md: Python's requests", { skip: skipWithout(PYTHON_REQUESTS) }, async (t) => {
  const client = await listen('42', 'orders:42')
  const cwd = await folderWith(t, { 'live.py': page.snippet('live.py') })
  const script = "from live import publish; print(publish('orders:42', {'name': 'é'}))"
  const id = await run([PYTHON, '-c', script], { cwd, env })
  t.match(await client.next({ type: 'message' }), { data: { name: 'é' }, id: id.trim() })
  const wrong = run([PYTHON, '-c', script], { cwd, env: { ...env, LIVEMESSAGES_API_KEY: 'wrong' } })
  await t.rejects(wrong, { message: /401/ })
})

t.test('docs/publishing/http.md: PHP', { skip: skipWithout(PHP) }, async (t) => {
  const client = await listen('42', 'orders:42')
  const cwd = await folderWith(t, {
    'live.php': page.snippet('live.php'),
    'shop.php': "<?php require 'live.php'; echo publish($argv[1], ['total' => 9.5]);",
  })
  const id = await run(['php', 'shop.php', 'orders:42'], { cwd, env })
  t.match(await client.next({ type: 'message' }), { data: { total: 9.5 }, id: id.trim() })
  const refused = run(['php', 'shop.php', 'no channel'], { cwd, env })
  await t.rejects(refused, { message: /RuntimeException: (invalid_input|unknown_channel)/ })
})
