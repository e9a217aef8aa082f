import { ClientError, defineAction } from 'livemessages'

/** An action as a user has one: by path, in TypeScript. */
export default defineAction({
  async handle(order, { user, connection, publish }) {
    if (connection === null) throw new ClientError('unavailable', 'a connection is needed')
    connection.emit('notice', 'cancelling', order)
    const [sure] = await connection.emitWithAck('sure', [order])
    if (sure !== true) throw new ClientError('forbidden', 'not sure', { asked: user })
    await publish('orders:all', { cancelled: order })
    return { ok: true as const }
  },
})
