import { defineAction } from 'livemessages'
import { fields, text } from 'livemessages/actions/input'
import { nameIn, room } from './rooms.ts'

/** `{ room, text }`: everyone in the room gets `{ name, text }`, the sender included. */
export default defineAction({
  input: fields({ room, text: text(2000) }),
  handle: ({ room, text }, { connection, publish }) =>
    publish(`chat:${room}`, { name: nameIn(connection, room), text }),
})
