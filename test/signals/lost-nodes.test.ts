import path from 'node:path'
import t from 'tap'
import { migrate } from '../../src/database/migrate.ts'
import type { Signal } from '../../src/signals/signal.ts'
import { connect } from '../support/client.ts'
import { startNode, type TestNode } from '../support/cluster.ts'
import { install, project } from '../support/installation.ts'
import { startPostgres } from '../support/postgres.ts'
import { until } from '../support/wait.ts'
import { distinct, type Receiver, SECRET, startReceiver } from './receiver.ts'

// Processes that are killed and frozen; what their connections' end is told by.

// The lease's end, the time without a sign of life, and what a loaded machine takes.
const LOST_MS = 60_000

const it = await install(t)
const server = await startPostgres(t)
await migrate(server.url)
await server.psql('CREATE TABLE told (hook text, session text, what text, open boolean)')

const TELL = `
export const disconnect = async (connection, { code, reason }, { db }) => {
  const open = connection.emit('are you there?')
  await db.query('INSERT INTO told VALUES ($1, $2, $3, $4)', ['disconnect', connection.session, code + ' ' + reason, open])
}
export const unsubscribe = ({ channel, reason }, { db, session }) =>
  db.query('INSERT INTO told VALUES ($1, $2, $3)', ['unsubscribe', session, reason + ' ' + channel])
`

async function configOf(receiver: Receiver): Promise<object> {
  const folder = await project(t, { 'tell.mjs': TELL })
  const tell = path.join(folder, 'tell.mjs')
  return {
    ACTIONS: { chat: { unsubscribe: `${tell}#unsubscribe` } },
    hooks: { disconnect: `${tell}#disconnect` },
    channels: { chat: { access: 'public' } },
    postgres: { url: server.url },
    signals: { webhooks: [{ url: receiver.url, secret: SECRET, name: 'app' }], lostAfter: '5s' },
    stop: '2s',
  }
}

async function enter(node: TestNode, ...channels: string[]): Promise<string> {
  const client = await connect(t, node)
  for (const channel of channels) await client.subscribe(channel)
  return String(client.welcome!['session'])
}

function ends(signals: readonly Signal[], session: string): string[] {
  return distinct(signals)
    .filter((signal) => signal.session === session)
    .map(({ name, reason }) => (reason === undefined ? name : `${name}: ${reason}`))
}

const LIFE = ['connect', 'subscribe', 'unsubscribe: node lost', 'disconnect: node lost']

void t.test(
  'of a killed node each connection is told to have ended, once, by signals and by hooks',
  async (t) => {
    const receiver = await startReceiver(t)
    const config = await configOf(receiver)
    const [one, two] = await Promise.all([startNode(t, it, config), startNode(t, it, config)])
    await enter(one, 'chat:all')
    const doomed = await Promise.all(
      Array.from({ length: 30 }, (_, n) => enter(two, n < 29 ? 'chat:all' : 'chat:two')),
    )
    await receiver.took(
      'all have come',
      (all) => all.filter(({ name }) => name === 'subscribe').length === 31,
    )

    two.kill('SIGKILL')
    await receiver.took(
      'their end',
      (all) => all.filter(({ name }) => name === 'disconnect').length >= 30,
      LOST_MS,
    )
    for (const session of doomed) t.same(ends(receiver.signals, session), LIFE)
    t.match(
      receiver.signals.find(({ name }) => name === 'disconnect'),
      { code: 1006, transport: 'websocket', user: null },
    )
    await receiver.took('its channel', (all) => all.some(({ name }) => name === 'vacated'))
    t.same(
      receiver.signals
        .filter(({ name }) => name === 'vacated' || name === 'occupied')
        .map(({ channel }) => channel!)
        .toSorted(),
      ['chat:all', 'chat:two', 'chat:two'],
      'where somebody of another node is, nobody is told',
    )
    const told = await until('the hooks', async () => {
      const rows = await server.psql('SELECT * FROM told ORDER BY hook, session')
      return rows.length === 60 ? rows : null
    })
    t.same(
      told.filter(({ hook }) => hook === 'disconnect').map(({ session }) => session),
      doomed.toSorted(),
    )
    t.ok(
      told
        .filter(({ hook }) => hook === 'disconnect')
        .every(({ what, open }) => what === '1006 node lost' && !open),
    )
    t.equal(told.filter(({ what }) => what === 'node lost chat:all').length, 29)
    t.same(await server.psql('SELECT count(*)::int AS n FROM livemessage.node'), [{ n: 1 }])
  },
)

void t.test('when all nodes were killed, the first one that is back tells it', async (t) => {
  const receiver = await startReceiver(t)
  const node = await startNode(t, it, await configOf(receiver))
  const sessions = await Promise.all([enter(node, 'chat:a'), enter(node, 'chat:a'), enter(node, 'chat:b')])
  await receiver.took('all have come', (all) => all.filter(({ name }) => name === 'subscribe').length === 3)
  node.kill('SIGKILL')
  await node.restart()
  await receiver.took(
    'their end',
    (all) => all.filter(({ name }) => name === 'disconnect').length >= 3,
    LOST_MS,
  )
  for (const session of sessions) t.same(ends(receiver.signals, session), LIFE)
  await receiver.took('their channels', (all) => all.filter(({ name }) => name === 'vacated').length >= 2)
})

void t.test(
  'a frozen node that comes back tells of those who are still there as if they had come',
  async (t) => {
    const receiver = await startReceiver(t)
    const config = await configOf(receiver)
    const [one, two] = await Promise.all([startNode(t, it, config), startNode(t, it, config)])
    await enter(one, 'chat:x')
    const client = await connect(t, two)
    await client.subscribe('chat:y')
    const session = String(client.welcome!['session'])
    await receiver.took('both', (all) => all.filter(({ name }) => name === 'subscribe').length === 2)
    two.kill('SIGSTOP')
    await receiver.took('its end', (all) => all.some(({ name }) => name === 'disconnect'), LOST_MS)
    two.kill('SIGCONT')
    await receiver.took(
      'it again',
      (all) => distinct(all).filter(({ name }) => name === 'connect').length === 3,
      LOST_MS,
    )
    await receiver.took(
      'its channel too',
      (all) => distinct(all).filter(({ name }) => name === 'subscribe').length === 3,
    )
    await client.close()
    await receiver.took('its real end', (all) => all.some(({ reason }) => reason === 'left'))
    t.same(ends(receiver.signals, session), [
      ...LIFE,
      'connect',
      'subscribe',
      'unsubscribe: disconnected',
      'disconnect: left',
    ])
    t.same(
      distinct(receiver.signals)
        .filter(({ channel, session: s }) => channel === 'chat:y' && s === undefined)
        .map(({ name }) => name),
      ['occupied', 'vacated', 'occupied', 'vacated'],
    )
  },
)
