import t from 'tap'
import type { Notification } from '../../src/index.ts'
import { defineSender } from '../../src/index.ts'
import { connect } from '../support/client.ts'
import { CHANNELS, startParts } from '../transports/both.ts'

/** What a careless sender does to the data that it is given. */
type Changing = (data: { text: string; list: { n: number }[] }) => void

async function setup(change: Changing) {
  const route = ({ data }: Notification): string => {
    change(data as Parameters<Changing>[0])
    return 'chat:a'
  }
  const parts = await startParts(t, { ...CHANNELS, ACTIONS: { chat: { sender: defineSender({ route }) } } })
  const data = { text: 'as it came', list: [{ n: 1 }] }
  const take = async (): Promise<void> => {
    const taken = await parts.intake.take({ source: 'test', name: 'chat', subsystem: 'chat', data })
    await taken?.kept
  }
  return { parts, data, take }
}

t.test('a sender that changes its notification gets an error, and nothing is published', async (t) => {
  for (const [name, change] of [
    ['a field', (data) => (data.text = 'changed')],
    ['a new field', (data) => Object.assign(data, { more: 1 })],
    ['a field that is taken away', (data) => Reflect.deleteProperty(data, 'text') || fail()],
    ['deep inside', (data) => (data.list[0]!.n = 2)],
    ['a list', (data) => data.list.push({ n: 2 })],
  ] satisfies [string, Changing][]) {
    const { parts, data, take } = await setup(change)
    await t.rejects(
      take(),
      { code: 'internal', message: /^chat\.sender \(inline\) (changed its notification|failed)/ },
      name,
    )
    t.strictSame(data, { text: 'as it came', list: [{ n: 1 }] })
    t.equal(parts.backbone.journal.head, 0)
  }
})

t.test('a sender that only looks is published', async (t) => {
  const { parts, data, take } = await setup(() => undefined)
  const client = await connect(t, parts)
  await client.subscribe('chat:a')
  await take()
  t.match(await client.next({ type: 'message' }), { channel: 'chat:a', data })
})

t.test(
  'a notification for a sender that nobody has named is refused with the key to name it by',
  async (t) => {
    const parts = await startParts(t, { ...CHANNELS, ACTIONS: { chat: {} } })
    const take = async (subsystem: string): Promise<unknown> =>
      parts.intake.take({ source: 'test', name: subsystem, subsystem, data: {} })
    await t.rejects(take('chat'), {
      code: 'unknown_channel',
      message: "no sender for 'chat': name one as ACTIONS.chat.sender",
    })
  },
)

function fail(): never {
  throw new TypeError('frozen')
}
