import { ClientError, defineSender, type Notification } from '../../src/index.ts'
import { notify } from '../actions/subsystems.ts'
import { connect } from '../support/client.ts'
import type { TestConfig } from '../support/daemon.ts'
import { onBoth } from './both.ts'

/** Answers what its data asks for, and tells what it was given. */
function config(seen: Notification[] = []): TestConfig {
  return {
    ACTIONS: {
      mail: {
        sender: defineSender({
          route(notification) {
            seen.push(notification)
            const { to, fault } = notification.data as { to?: string; fault?: string }
            if (fault === 'input') throw new ClientError('invalid_input', 'no such thing')
            if (fault === 'own') throw new Error('select password from users')
            if (fault === 'hangs') return new Promise<never>(() => undefined)
            return to ?? null
          },
        }),
      },
      chat: { say: (data: unknown) => data },
    },
    channels: {
      mail: { access: 'public' },
      kept: { access: 'public', history: {} },
      chat: { access: 'public' },
    },
    limits: { callMs: 300 },
  }
}

onBoth('what is posted goes to the sender, as a NOTIFY would, with every digit', async (t, start) => {
  const seen: Notification[] = []
  const daemon = await start(config(seen))
  const client = await connect(t, daemon)
  await client.subscribe('mail:a')
  const sent = '{"subsystem":"mail","data":{"to":"mail:a","n":12345678901234567890},"key":"k"}'
  t.same(await notify(daemon, sent), { status: 200, body: {} })
  await client.next({ type: 'message' })
  t.match(seen, [
    { source: 'http', subsystem: 'mail', name: '/api/notify', key: /^\S+ k$/, data: { to: 'mail:a' } },
  ])
  t.same(
    await notify(daemon, { subsystem: 'mail', data: {} }),
    { status: 200, body: {} },
    'nothing comes of it',
  )
  t.equal(seen[1]?.key, undefined)
  await notify(daemon, { subsystem: 'mail', data: null }).then(({ status }) => t.equal(status, 500))
})

onBoth('a key counts once, be it a field or a header', async (t, start) => {
  const daemon = await start(config())
  const client = await connect(t, daemon)
  await client.subscribe('kept:a')
  const once = { subsystem: 'mail', data: { to: 'kept:a', n: 1 } }
  t.equal((await notify(daemon, { ...once, key: 'one' })).status, 200)
  t.equal((await notify(daemon, once, { 'Idempotency-Key': 'one' })).status, 200)
  t.match(await notify(daemon, { subsystem: 'mail', data: { to: 'kept:a', n: 2 }, key: 'one' }), {
    status: 409,
    body: { error: { code: 'conflict' } },
  })
  await notify(daemon, { subsystem: 'mail', data: { to: 'kept:a', n: 'last' } })
  await client.next({ data: { n: 'last' } })
  t.equal(client.frames.filter(({ type }) => type === 'message').length, 2)
})

onBoth(
  'whoever may not publish may not do this, and what is wrong is told with its field',
  async (t, start) => {
    const key = 'k'.repeat(32)
    const daemon = await start({ ...config(), api: { keys: [key], loopback: false } })
    const open = await start(config())
    t.match(await notify(daemon, { subsystem: 'mail', data: {} }), { status: 401 })
    t.match(await notify(daemon, { subsystem: 'mail', data: {} }, { Authorization: `Bearer ${key}` }), {
      status: 200,
    })
    const wrong: [body: unknown, status: number, code: string][] = [
      ['', 400, 'invalid_input'],
      ['not JSON', 400, 'invalid_input'],
      ['[]', 400, 'invalid_input'],
      [{}, 400, 'invalid_input'],
      [{ subsystem: 'mail' }, 400, 'invalid_input'],
      [{ data: 1 }, 400, 'invalid_input'],
      [{ subsystem: 5, data: 1 }, 400, 'invalid_input'],
      [{ subsystem: 'a b', data: 1 }, 400, 'invalid_input'],
      [{ subsystem: 'mail', data: 1, channel: 'mail:a' }, 400, 'invalid_input'],
      [{ subsystem: 'mail', data: {}, key: 'x'.repeat(257) }, 400, 'invalid_input'],
      [{ subsystem: 'nothing', data: 1 }, 404, 'unknown_channel'],
      [{ subsystem: 'chat', data: 1 }, 404, 'unknown_channel'],
      [{ subsystem: 'constructor', data: 1 }, 404, 'unknown_channel'],
      [{ subsystem: 'mail', data: { to: 'nowhere:a' } }, 404, 'unknown_channel'],
      [{ subsystem: 'mail', data: { fault: 'input' } }, 400, 'invalid_input'],
      [{ subsystem: 'mail', data: { fault: 'own' } }, 500, 'internal'],
      [{ subsystem: 'mail', data: { fault: 'hangs' } }, 503, 'timeout'],
    ]
    for (const [body, status, code] of wrong) {
      const answer = await notify(open, body)
      t.match(answer, { status, body: { error: { code } } }, JSON.stringify(body).slice(0, 80))
      t.notMatch(JSON.stringify(answer.body), /password/)
    }
    const response = await fetch(`${open.url}/api/notify`, {
      method: 'POST',
      body: '{"subsystem":"mail","data":{}}',
    })
    t.equal(response.status, 400, 'what a form of any page can send is not taken')
    t.equal((await fetch(`${open.url}/api/notify`)).status, 405)
  },
)
