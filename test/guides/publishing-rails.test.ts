import t from 'tap'
import { RUBY_ACTIVERECORD, RUBY_PG, skipWithout } from '../support/packages.ts'
import { startShop } from './shop.ts'
import { folderWith, readPage, run } from './snippets.ts'

t.setTimeout(120_000)

const skip = skipWithout(RUBY_PG) || skipWithout(RUBY_ACTIVERECORD)

t.test('docs/publishing/rails.md: ActiveRecord and pg', { skip }, async (t) => {
  const { env, ownerUrl, listen } = await startShop(t)
  const page = await readPage('publishing/rails.md')
  await run([
    'psql',
    '-X',
    '-q',
    ownerUrl,
    '-c',
    'grant livemessage_publisher to shop; grant create on schema public to shop',
  ])
  const cwd = await folderWith(t, {
    ...Object.fromEntries(page.marked.map(({ name, text }) => [name, text])),
    'shop.rb': `
require 'active_record'
ActiveRecord::Base.establish_connection(ENV.fetch('DATABASE_URL'))
ActiveRecord::Schema.verbose = ActiveRecord::Migration.verbose = false
ActiveRecord::Schema.define do
  create_table(:orders) { |t| t.integer :owner_id; t.string :status, default: 'new' }
end
require './live'
require './order'
Order.create!(owner_id: 42)
Order.transaction do
  Order.create!(owner_id: 42, status: 'kept')
  Order.transaction(requires_new: true) do
    Order.create!(owner_id: 42, status: 'rolled back')
    raise ActiveRecord::Rollback
  end
end
Live.publish('orders:42', { text: "O'Brien said \\\\ \\"é\\"" })
require './migration'
LiveOrders.new.migrate(:up)
Order.update_all(status: 'sent')
LiveOrders.new.migrate(:down)
Order.update_all(status: 'unseen')
`,
  })
  const client = await listen('42', 'orders:42')
  const next = async (): Promise<unknown> => (await client.next({ type: 'message' }))['data']
  await run(['ruby', 'shop.rb'], { cwd, env })
  t.same(await next(), { id: 1, status: 'new' })
  t.same(await next(), { id: 2, status: 'kept' })
  t.same(await next(), { text: 'O\'Brien said \\ "é"' })
  t.same(
    [await next(), await next()],
    [
      { id: 1, status: 'sent' },
      { id: 2, status: 'sent' },
    ],
  )
  await run(['ruby', 'plain.rb'], { cwd, env })
  t.same(await next(), { id: 1, status: 'sent' })
  t.same(client.rest('message'), [])
})
