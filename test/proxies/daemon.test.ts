import t from 'tap'
import { startDaemon } from '../support/daemon.ts'
import { ask, closedSpellings } from './asking.ts'
import { KEY } from './nodes.ts'

for (const listener of ['uws', 'node'] as const) {
  for (const trustedProxies of [[], ['127.0.0.1']]) {
    const behind = trustedProxies.length === 0 ? 'that nobody told it of' : 'that it trusts'
    t.test(
      `${listener}: behind a proxy ${behind} that closes nothing, a key is needed all the same`,
      async (t) => {
        const daemon = await startDaemon(t, {
          ACTIONS: { chat: {} },
          channels: { chat: { access: 'public', history: {} } },
          trustedProxies,
          api: { keys: [KEY] },
          listener,
        })
        for (const path of closedSpellings()) {
          if (/^.(healthz|readyz|$)/.test(path)) continue
          for (const method of ['GET', 'POST']) {
            const headers = { Host: 'localhost', 'X-Forwarded-For': '127.0.0.1' }
            const { status } = await ask(daemon.url, { method, path, headers })
            t.ok(status >= 400 && status <= 505, `${method} ${path}: ${status}`)
          }
        }
        const { body } = await ask(daemon.url, {
          method: 'GET',
          path: '/api/history?channel=chat:x&last=5',
          headers: { Authorization: `Bearer ${KEY}` },
        })
        t.match(JSON.parse(body), { messages: [] }, 'nothing was published')
      },
    )
  }
}
