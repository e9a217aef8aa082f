import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { startProxy } from '../support/tcp-proxy.ts'

// Publications to several channels at once: all, or none.

const postgres = await startPostgres(t)
const channels = {
  chat: { access: 'public', history: {} },
  quotes: { access: 'public' },
} as const

t.test('a broadcast that the journal refuses reaches no transient channel either', async (t) => {
  const proxy = await startProxy(t, postgres.url)
  const limits = { publishMs: '300ms' as const }
  const daemon = await startDaemon(
    t,
    { postgres: { url: proxy.url(postgres.url) }, channels, limits },
    {
      migrate: true,
    },
  )
  const client = await connect(t, daemon)
  await client.subscribe('quotes:a')
  const broadcast = async (data: unknown, key?: string): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`${daemon.url}/api/broadcast`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ channels: ['quotes:a', 'chat:a'], data, ...(key === undefined ? {} : { key }) }),
    })
    return { status: response.status, body: await response.json() }
  }

  t.match(await broadcast(1, 'k'), { status: 200, body: { published: [{ id: null }, { id: /-1$/ }] } })
  t.match(await client.next({ type: 'message' }), { channel: 'quotes:a', data: 1 })

  const before = daemon.daemon.counts.publications.get('http')
  t.match(await broadcast(2, 'k'), { status: 409 }, 'the same key with other data')
  t.equal(daemon.daemon.counts.publications.get('http'), before)

  proxy.refuse()
  proxy.cut()
  t.match(await broadcast(3), { status: 503, body: { error: { code: 'unavailable' } } })
  proxy.accept()
  // What comes next on the channel is the proof that nothing came before it.
  await daemon.publish('quotes:a', 'next')
  t.match(await client.next({ type: 'message' }), { channel: 'quotes:a', data: 'next' })
})
