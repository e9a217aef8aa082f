import type { Client } from '../hub/client.ts'
import type { Log } from '../ops/log.ts'
import type { SignalSink } from './sink.ts'

/**
 * As `sink`, and at `debug` the log says who comes and goes. At any other level it is the sink itself: nothing is looked
 * at. A poll without a session is a visit of its own, and is not told of.
 */
export function logged(sink: SignalSink, log: Log): SignalSink {
  if (log.level !== 'debug' && log.level !== 'trace') return sink
  const note = (client: Client, fields: object, message: string): void => {
    if (client.link.fleeting === true) return
    const { session, user, transport } = client
    log.debug({ session, user, transport, ...fields }, message)
  }
  return {
    connected(client) {
      note(client, {}, 'connected')
      sink.connected(client)
    },
    disconnected(client, left) {
      note(client, { code: left.code, reason: left.reason }, 'disconnected')
      sink.disconnected(client, left)
    },
    joined(client, channel) {
      note(client, { channel }, 'joined')
      sink.joined(client, channel)
    },
    left(client, channel) {
      note(client, { channel }, 'left')
      sink.left(client, channel)
    },
    identified: (client) => sink.identified(client),
    refused: (client) => sink.refused(client),
    called: (client, user, action, data) => sink.called(client, user, action, data),
    said: (client, user, frame) => sink.said(client, user, frame),
  }
}
