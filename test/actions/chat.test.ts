import t from 'tap'
import { CallError, connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'

const daemon = await startDaemon(t, {
  ACTIONS: { chat: { say: './actions/chat/say.ts' } },
  channels: { chat: { access: 'public', history: { count: 50 } } },
})

await t.test('what one says in a room comes to all who are there, the speaker included', async (t) => {
  const [ann, ben] = await Promise.all([connect(t, daemon), connect(t, daemon)])
  await Promise.all([ann.subscribe('chat:general'), ben.subscribe('chat:general')])
  const answer = await ann.call('chat.say', { room: 'general', name: ' Ann ', text: 'hello', more: 1 })
  const said = { type: 'message', channel: 'chat:general', data: { name: 'Ann', text: 'hello' } }
  const heard = await ben.next({ type: 'message' })
  t.match(heard, said)
  t.same(heard['data'], said.data, 'other fields are dropped')
  t.same(answer, { id: heard['id'] }, 'the answer is its cursor')
  t.match(await ann.next({ type: 'message' }), said)
})

await t.test('whoever comes later gets the last 50, oldest first, and no other room', async (t) => {
  const ann = await connect(t, daemon)
  await ann.call('chat.say', { room: 'other', text: 'elsewhere' })
  for (let n = 1; n <= 60; n++) await ann.call('chat.say', { room: 'later', text: `${n}` })
  const ben = await connect(t, daemon)
  const { messages } = (await ben.subscribe('chat:later', { last: 50 })) as unknown as {
    messages: { data: { text: string } }[]
  }
  t.same(
    messages.map(({ data }) => data.text),
    Array.from({ length: 50 }, (_, n) => `${n + 11}`),
  )
})

await t.test('without a room and a name it is a guest in general', async (t) => {
  const ann = await connect(t, daemon)
  await ann.subscribe('chat:general')
  await ann.call('chat.say', { text: 'hello' })
  t.match(await ann.next({ type: 'message' }), { data: { name: 'guest', text: 'hello' } })
})

await t.test('what is no message is refused, with the field and what was expected there', async (t) => {
  const ann = await connect(t, daemon)
  const wrong: [unknown, string[]][] = [
    [{}, ['text']],
    [null, ['text']],
    [{ text: '' }, ['text']],
    [{ text: ' \n ' }, ['text']],
    [{ text: 'x'.repeat(2001) }, ['text']],
    [{ text: { length: 5 } }, ['text']],
    [{ text: 'x', name: '' }, ['name']],
    [{ text: 'x', name: 'x'.repeat(65) }, ['name']],
    [{ text: 'x', room: 'a:b' }, ['room']],
    [{ text: 'x', room: 'a b' }, ['room']],
    [{ text: 'x', room: '' }, ['room']],
    [{ room: 5, name: 5, text: 5 }, ['room', 'name', 'text']],
  ]
  for (const [data, fields] of wrong) {
    const error: unknown = await ann.call('chat.say', data).catch((error: unknown) => error)
    t.ok(error instanceof CallError, 'it is refused')
    const details = fields.map((name) => ({ path: [name], message: /^expected .*, got / }))
    t.match(error, { code: 'invalid_input', details }, JSON.stringify(data).slice(0, 60))
  }
  const notAnObject: unknown = await ann.call('chat.say', 'hello').catch((error: unknown) => error)
  t.match(notAnObject, { code: 'invalid_input', details: [{ message: 'expected an object, got "hello"' }] })
})
