import { ClientError, type Connection } from 'livemessages'
import { matching } from 'livemessages/actions/input'

export const room = matching(/^[A-Za-z0-9_.@-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 _ . @ -', 'general')

/** The rooms that a client is in, and its name there: in the connection's bag, which outlives a reload of this file. */
export function roomsOf(connection: Connection | null): Map<string, string> {
  if (connection === null) throw new ClientError('unavailable', 'a room is joined over a connection')
  const known = connection.bag.get('rooms')
  if (known instanceof Map) return known as Map<string, string>
  const rooms = new Map<string, string>()
  connection.bag.set('rooms', rooms)
  return rooms
}

/** The client's name in a room that it has joined. */
export function nameIn(connection: Connection | null, room: string): string {
  const name = roomsOf(connection).get(room)
  if (name === undefined) throw new ClientError('forbidden', `join ${room} first`)
  return name
}
