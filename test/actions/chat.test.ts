import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon } from '../support/daemon.ts'

await t.test('what one says in a room comes to all who are there, the speaker included', async (t) => {
  const daemon = await startDaemon(t, {
    ACTIONS: { chat: { say: './actions/chat/say.ts' } },
    channels: { chat: { access: 'public', history: { count: 50 } } },
  })
  const [ann, ben] = await Promise.all([connect(t, daemon), connect(t, daemon)])
  await Promise.all([ann.subscribe('chat:general'), ben.subscribe('chat:general')])
  const answer = await ann.call('chat.say', { room: 'general', name: ' Ann ', text: 'hello' })
  const said = { type: 'message', channel: 'chat:general', data: { name: 'Ann', text: 'hello' } }
  const heard = await ben.next({ type: 'message' })
  t.match(heard, said)
  t.same(answer, { id: heard['id'] }, 'the answer is its cursor')
  t.match(await ann.next({ type: 'message' }), said)
})
