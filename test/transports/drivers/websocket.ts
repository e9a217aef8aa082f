import { connect } from '../../support/client.ts'
import { until } from '../../support/wait.ts'
import { type Driver, headersOf, queryOf, Recording } from './driver.ts'

export const websocket: Driver = {
  row: 'WebSocket',
  follower: 'websocket',
  asks: false,
  async reach(t, base, coming) {
    const record = new Recording()
    const client = await connect(t, `${base.replace('http', 'ws')}/ws`, {
      query: queryOf(coming).toString(),
      headers: headersOf(coming),
    })
    record.session = String(client.welcome!['session'])
    let answer: string | null = null
    let subscribed = 0
    const take = (frame: Readonly<Record<string, unknown>>): void => {
      record.takeObject(frame)
      if (frame['type'] === 'subscribed') {
        subscribed++
        if (coming.from !== undefined && frame['recovered'] !== true) record.lostBy = 'recovered'
        record.cursor ??= frame['cursor'] as string | null
      }
      if (frame['type'] === 'event' && frame['id'] !== undefined && answer !== null) {
        client.send({ type: 'ack', id: frame['id'], args: [answer] })
      }
    }
    for (const frame of client.frames) if (frame.type !== 'welcome') take(frame)
    client.socket.on('message', (bytes: Buffer) => take(JSON.parse(bytes.toString())))
    record.frame = async (frame) => {
      const answered = await client.ask(frame)
      return answered.type === 'error' ? { code: String(answered['code']) } : { data: answered['data'] }
    }
    record.acknowledge = (text) => (answer = text)
    record.end = () => client.close()
    await until('the subscriptions', () => subscribed === coming.channels.length || record.refused !== null)
    return record
  },
}
