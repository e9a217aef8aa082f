import { ClientError, defineAction } from 'livemessages'
import { fields, text } from 'livemessages/actions/input'
import { room, roomsOf } from './rooms.ts'

/** `{ room, name }`: everyone in the room is told `{ joined: name }`, and so is who comes later. */
export default defineAction({
  input: fields({ room, name: text(64) }),
  handle({ room, name }, { connection, publish }) {
    const rooms = roomsOf(connection)
    if (rooms.has(room)) throw new ClientError('conflict', `you are in ${room} already: see chat.rename`)
    rooms.set(room, name)
    return publish(`chat:${room}`, { joined: name })
  },
})
