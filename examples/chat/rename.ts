import { defineAction } from 'livemessages'
import { fields, text } from 'livemessages/actions/input'
import { nameIn, room, roomsOf } from './rooms.ts'

/** `{ room, name }`: everyone in the room is told `{ renamed: { from, to } }`. */
export default defineAction({
  input: fields({ room, name: text(64) }),
  handle({ room, name }, { connection, publish }) {
    const from = nameIn(connection, room)
    roomsOf(connection).set(room, name)
    return publish(`chat:${room}`, { renamed: { from, to: name } })
  },
})
