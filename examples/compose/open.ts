import { ClientError, defineAction } from 'livemessages'
import { fields, id } from 'livemessages/actions/input'

/**
 * Opens a message: `{ id }`. Marks it as read, and answers `{ unread }`, how many are left, in one round trip. The user's
 * other devices hear it as an event.
 */
export default defineAction({
  access: 'authenticated',
  input: fields({ id }),
  async handle({ id }, { call, emit, user }) {
    const { success } = await call<{ success: boolean }>('messages.read', { id })
    if (!success) throw new ClientError('not_found', 'you have no such message')
    const { count } = await call<{ count: number }>('messages.not-read-count')
    await emit({ user: String(user) }, 'unread', [count], { exclude: 'me' })
    return { unread: count }
  },
})
