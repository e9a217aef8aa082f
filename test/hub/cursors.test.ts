import { setTimeout as passed } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { MemoryJournal } from '../../src/journal/memory.ts'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import { until } from '../support/wait.ts'
import type { TestConfig } from '../support/daemon.ts'
import { type HubNode, startHubNode } from './node.ts'
import { RemoteJournal } from './remote-journal.ts'

const CONFIG: TestConfig = {
  ACTIONS: { chat: {}, live: {} },
  channels: {
    chat: { access: 'public', history: { count: 1_000_000, maxAge: '1d' } },
    live: { access: 'public' },
  },
}

function onBoth(
  name: string,
  run: (t: Test, start: (ms: number) => Promise<HubNode>) => Promise<void>,
): void {
  for (const kind of ['uws', 'node'] as const) {
    void t.test(`${kind}: ${name}`, (t) =>
      run(t, (cursorsMs) =>
        startHubNode(
          t,
          { listener: kind, ...CONFIG },
          { journal: new MemoryJournal({ windowBytes: 1e8 }), cursorsMs },
        ),
      ),
    )
  }
}

function positionOf(cursor: unknown): number {
  return Number(String(cursor).split('-')[1])
}

function cursors(client: TestClient): number[] {
  return client.frames.filter(({ type }) => type === 'cursor').map(({ cursor }) => positionOf(cursor))
}

onBoth('the cursor of a quiet channel moves with the journal, and only then', async (t, start) => {
  const node = await start(5)
  const [quiet, none, transient] = [await connect(t, node), await connect(t, node), await connect(t, node)]
  await quiet.subscribe('chat:quiet')
  await transient.subscribe('live:a')
  await passed(80)
  const before = quiet.frames.length
  const id = await node.publish('chat:busy', 1)
  t.same(await quiet.next({ type: 'cursor', cursor: id }), { type: 'cursor', cursor: id })
  await passed(80)
  t.equal(quiet.frames.length, before + 1, 'once for each move')
  await quiet.ask({ type: 'unsubscribe', channel: 'chat:quiet' })
  await node.publish('chat:busy', 2)
  await passed(80)
  for (const client of [quiet, none, transient]) await client.ask({ type: 'ping' })
  t.notOk(cursors(quiet).includes(2), 'nothing to it without a subscription')
  t.same([...cursors(none), ...cursors(transient)], [])
  await quiet.subscribe('chat:quiet')
  await quiet.next({ type: 'cursor', cursor: await node.publish('chat:busy', 3) })
})

onBoth('a cursor never overtakes a message, whatever comes and goes', async (t, start) => {
  const node = await start(1)
  const first = await node.publish('chat:a', 0)
  const clients: TestClient[] = []
  for (let n = 0; n < 5; n++) {
    const client = await connect(t, node)
    await client.subscribe('chat:a', { since: first })
    clients.push(client)
  }
  const sizes = [10, 20_000, 100, 16_400, 5, 40_000, 300]
  const exclude = clients[0]!.welcome!['session'] as string
  for (let n = 1; n <= 600; n++) {
    const options = n % 5 === 0 ? { exclude } : {}
    await node.publish(n % 3 === 0 ? 'chat:b' : 'chat:a', [n, 'x'.repeat(sizes[n % sizes.length]!)], options)
    if (n % 40 === 0) {
      void clients[1]!.subscribe('chat:b', { since: first })
      void clients[2]!.ask({ type: 'unsubscribe', channel: 'chat:a' })
      void clients[2]!.subscribe('chat:a', { last: 2 })
    }
    if (n % 4 === 0) await passed(1)
  }
  const end = await node.publish('chat:a', 'end')
  for (const client of clients) {
    await client.next((frame) => frame['id'] === end)
    let told = -1
    let early: Frame | undefined
    for (const frame of client.frames) {
      if (frame.type === 'cursor') told = positionOf(frame['cursor'])
      // Who subscribes anew with a cursor asks for what it has had.
      if (frame.type === 'subscribed') told = -1
      if (frame.type === 'message' && positionOf(frame['id']) <= told) early = frame
    }
    t.equal(early, undefined)
  }
  t.ok(cursors(clients[0]!).length > 5, 'there were cursors among them')
})

onBoth('several subscriptions and a reload: told as long as one journaled one is left', async (t, start) => {
  const node = await start(5)
  const client = await connect(t, node)
  await client.subscribe('chat:a')
  await client.subscribe('chat:b')
  await client.subscribe('live:a')
  await client.ask({ type: 'unsubscribe', channel: 'chat:a' })
  await node.publish('chat:c', 1)
  await client.next({ type: 'cursor' })
  await client.ask({ type: 'unsubscribe', channel: 'live:a' })
  await node.publish('chat:c', 2)
  await client.next({ type: 'cursor' })
})

for (const kind of ['uws', 'node'] as const) {
  void t.test(`${kind}: who recovers is told nothing of where the others are`, async (t) => {
    const journal = new RemoteJournal()
    const node = await startHubNode(t, { listener: kind, ...CONFIG }, { journal, cursorsMs: 2 })
    const first = await node.publish('chat:a', 0)
    const [client, other] = [await connect(t, node), await connect(t, node)]
    await client.subscribe('chat:b')
    await other.subscribe('chat:b')
    let open = (): void => undefined
    journal.gate = new Promise((resolve) => (open = resolve))
    client.send({ type: 'subscribe', id: 1, channel: 'chat:a', since: first })
    await until('it is asked for', () => journal.asked === 1)
    const told = cursors(client).length
    for (let n = 1; n <= 10; n++) await node.publish('chat:a', n)
    await other.next({ type: 'cursor', cursor: `${journal.epoch}-11` })
    t.equal(cursors(client).length, told)
    open()
    t.match(await client.next({ id: 1 }), { type: 'subscribed', recovered: true })
    await client.next({ type: 'message', data: 10 })
    await node.publish('chat:c', 1)
    await client.next({ type: 'cursor', cursor: `${journal.epoch}-12` })
  })
}
