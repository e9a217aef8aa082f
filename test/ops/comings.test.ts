import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'

const CONFIG = {
  ACTIONS: { chat: {}, live: {} },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 10 } },
    live: { access: 'public', publish: 'public' },
  },
} as const

t.test('who comes, joins, leaves and goes is in the log, and to how many a publication went', async (t) => {
  const daemon = await startDaemon(t, CONFIG, { logLevel: 'trace' })
  const [ann, bob] = [await connect(t, daemon), await connect(t, daemon)]
  const session = String(ann.welcome?.['session'])
  t.match(await daemon.logged({ msg: 'connected', session }), {
    level: 'debug',
    user: null,
    transport: 'websocket',
  })
  for (const client of [ann, bob]) await client.subscribe('chat:a')
  await bob.subscribe('live:a')
  await daemon.logged({ msg: 'joined', session, channel: 'chat:a' })
  await daemon.publish('chat:a', 'to both')
  await daemon.logged({ level: 'trace', msg: 'delivered', channel: 'chat:a', clients: 2 })
  await bob.ask({ type: 'publish', channel: 'chat:a', data: 'to the other', exclude: true })
  await daemon.logged({ msg: 'delivered', channel: 'chat:a', clients: 1 })
  await daemon.publish('live:a', 'to one')
  await daemon.logged({ msg: 'delivered', channel: 'live:a', clients: 1 })
  await daemon.publish('live:b', 'to nobody')
  await daemon.logged({ msg: 'delivered', channel: 'live:b', clients: 0 })
  await ann.ask({ type: 'unsubscribe', channel: 'chat:a' })
  await daemon.logged({ msg: 'left', session, channel: 'chat:a' })
  await ann.close()
  await daemon.logged({ msg: 'disconnected', session, code: 1000 })
  bob.socket.terminate()
  const gone = { session: String(bob.welcome?.['session']) }
  for (const channel of ['chat:a', 'live:a']) await daemon.logged({ msg: 'left', ...gone, channel })
  await daemon.logged({ msg: 'disconnected', ...gone, code: 1006 })
  t.notMatch(JSON.stringify(daemon.lines), /to both|to one/, 'payloads are not')
})

t.test('polls without a session are no comings and goings; at info nothing of it is said', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  await fetch(`${daemon.url}/poll?channel=chat:a&wait=0`)
  const quiet = await startDaemon(t, CONFIG, { logLevel: 'info' })
  const ann = await connect(t, quiet)
  await ann.subscribe('chat:a')
  await quiet.publish('chat:a', 1)
  await ann.next({ type: 'message' })
  await ann.close()
  await Promise.all([daemon.stop(), quiet.stop()])
  for (const { lines } of [daemon, quiet]) {
    const told = lines.filter(({ msg }) => /^(dis)?connected$|^joined$|^left$|^delivered$/.test(msg))
    t.strictSame(told, [])
  }
})
