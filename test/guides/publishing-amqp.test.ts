import { symlink } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { PYTHON_PIKA, RUBY_BUNNY, skipWithout } from '../support/packages.ts'
import { rabbitSkip } from '../support/rabbitmq.ts'
import { startShop } from './shop.ts'
import { folderWith, PYTHON, readPage, run } from './snippets.ts'

t.setTimeout(180_000)

const skip = rabbitSkip()
if (skip !== false) t.bailout(skip)

const { env, listen } = await startShop(t, { rabbit: true })
const page = await readPage('publishing/amqp.md')

t.test('docs/publishing/amqp.md: pika', { skip: skipWithout(PYTHON_PIKA) }, async (t) => {
  const client = await listen('42', 'orders:42')
  const cwd = await folderWith(t, {
    'live.py': page.snippet('live.py'),
    'shop.py': `
import pika, live
live.publish('orders', '42', {'by': 'pika'}, 'one')
live.publish('orders', '42', {'by': 'pika'}, 'one')
live.publish('orders', '42', {'by': 'pika', 'n': 2})
try:
    live.publish('nothing', '42', {})
except pika.exceptions.UnroutableError:
    print('unroutable')
live.connection.close()
`,
  })
  t.equal(await run([PYTHON, 'shop.py'], { cwd, env }), 'unroutable\n')
  t.same((await client.next({ type: 'message' }))['data'], { by: 'pika' })
  t.same((await client.next({ type: 'message' }))['data'], { by: 'pika', n: 2 })
})

t.test('docs/publishing/amqp.md: bunny', { skip: skipWithout(RUBY_BUNNY) }, async (t) => {
  const client = await listen('42', 'orders:42')
  const cwd = await folderWith(t, {
    'live.rb': page.snippet('live.rb'),
    'shop.rb': "require './live'\npublish('orders', '42', { by: 'bunny' })\nCONNECTION.close\n",
  })
  await run(['ruby', 'shop.rb'], { cwd, env })
  t.same((await client.next({ type: 'message' }))['data'], { by: 'bunny' })
})

t.test('docs/publishing/amqp.md: amqplib', async (t) => {
  const client = await listen('42', 'orders:42')
  const cwd = await folderWith(t, {
    'live.ts': page.snippet('live.ts'),
    'shop.ts': `import { close, publish } from './live.ts'
await publish('orders', '42', { by: 'amqplib' })
await close()
`,
    'package.json': '{"type":"module"}',
  })
  await symlink(path.resolve('node_modules'), path.join(cwd, 'node_modules'))
  const tsx = import.meta.resolve('tsx')
  await run([process.execPath, '--import', tsx, 'shop.ts'], { cwd, env })
  t.same((await client.next({ type: 'message' }))['data'], { by: 'amqplib' })
})
