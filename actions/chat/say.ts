import { defineAction } from 'livemessages'
import { fields, matching, optional, text } from '../input.ts'

/**
 * Says something in a room: `{ room: 'general', name: 'Ann', text: 'hello' }`. Everyone on `chat:<room>` gets
 * `{ name, text }`, the sender included; the answer is `{ id }`, the message's cursor. Without a room it is said
 * in `general`, without a name in the user's own.
 */
export default defineAction({
  input: fields({
    room: matching(/^[A-Za-z0-9_.@-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 _ . @ -', 'general'),
    name: optional(text(64)),
    text: text(2000),
  }),
  handle({ room, name, text }, { publish, user }) {
    return publish(`chat:${room}`, { name: (name ?? user ?? 'guest').trim(), text })
  },
})
