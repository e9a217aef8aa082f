import { type DisconnectHook, defineAction } from 'livemessages'
import { fields } from 'livemessages/actions/input'
import { nameIn, room, roomsOf } from './rooms.ts'

/** `{ room }`: everyone in the room is told `{ left: name }`. */
export default defineAction({
  input: fields({ room }),
  handle({ room }, { connection, publish }) {
    const name = nameIn(connection, room)
    roomsOf(connection).delete(room)
    return publish(`chat:${room}`, { left: name })
  },
})

/** A client is gone: told in each of its rooms. */
export const disconnect: DisconnectHook = async (connection, _why, { publish }) => {
  for (const [room, name] of roomsOf(connection)) await publish(`chat:${room}`, { left: name })
}
