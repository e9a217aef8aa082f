import t from 'tap'
import { startDaemon } from '../support/daemon.ts'
import { DRIVERS } from '../transports/drivers/drivers.ts'
import { of, SECRET, startReceiver } from './receiver.ts'

// By whatever road a client comes, the same is told of it.

/** Whoever only asks is no connection. */
const ASKING = ['long-polling', '`/listen/?cid=`']
const STAYING = DRIVERS.filter(({ asks, row }) => !asks && !ASKING.includes(row))

/** Those who may come first and subscribe later. */
const BARE = STAYING.filter(({ row }) => /^(WebSocket|Socket\.IO|Engine\.IO)/.test(row))

for (const [how, drivers, channels, hook] of [
  ['', STAYING, ['chat:a'], false],
  [', with a connect hook', STAYING, ['chat:a'], true],
  [', without a channel', BARE, [], false],
] as const) {
  for (const driver of drivers) {
    void t.test(`${driver.row}${how}: who comes and goes is told`, async (t) => {
      const receiver = await startReceiver(t)
      const daemon = await startDaemon(t, {
        ACTIONS: { chat: {} },
        channels: { chat: { access: 'public', history: { count: 10 } } },
        engineio: {},
        predecessors: { subsystem: 'chat' },
        signals: { webhooks: [{ url: receiver.url, secret: SECRET }] },
        ...(hook ? { hooks: { connect: () => undefined } } : {}),
      })
      const client = await driver.reach(t, daemon.url, { channels })
      const last = channels.length > 0 ? 'subscribe' : 'connect'
      await receiver.took(`a ${last}`, (all) => all.some(({ name }) => name === last))
      await client.close()
      const all = await receiver.took('the end', (all) => all.some(({ name }) => name === 'disconnect'))
      const session = String(all.find(({ name }) => name === 'connect')?.session)
      const between = channels.length > 0 ? ['subscribe', 'unsubscribe'] : []
      t.same(of(all, session), ['connect', ...between, 'disconnect'])
      t.equal(
        all.filter((signal) => signal.session !== undefined).length,
        2 + between.length,
        'of nobody else',
      )
    })
  }
}
