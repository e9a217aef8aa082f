import { ClientError, defineAction } from 'livemessages'

/** The longest text, in characters. */
const MAX_TEXT = 2000

interface Message {
  readonly name: string
  readonly text: string
}

/**
 * Says something in a room: `{ room: 'general', name: 'Ann', text: 'hello' }`. Everyone on `chat:<room>` gets
 * `{ name, text }`, the sender included; the answer is `{ id }`, the message's cursor.
 */
export default defineAction({
  async handle(input, { publish, user }) {
    const { room, ...message } = read(input, user)
    return publish(`chat:${room}`, message)
  },
})

function read(input: unknown, user: string | null): Message & { readonly room: string } {
  const { room = 'general', name = user ?? 'guest', text } = Object(input) as Record<string, unknown>
  if (typeof room !== 'string' || !/^[A-Za-z0-9_.@-]{1,64}$/.test(room)) {
    throw new ClientError('invalid_input', 'room: expected 1 to 64 of A-Z a-z 0-9 _ . @ -')
  }
  if (typeof name !== 'string' || name.trim() === '' || name.length > 64) {
    throw new ClientError('invalid_input', 'name: expected 1 to 64 characters')
  }
  if (typeof text !== 'string' || text.trim() === '' || text.length > MAX_TEXT) {
    throw new ClientError('invalid_input', `text: expected 1 to ${MAX_TEXT} characters`)
  }
  return { room, name: name.trim(), text }
}
