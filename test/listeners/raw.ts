import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { until, within } from '../support/wait.ts'

export type Where = { readonly port: number } | { readonly path: string }

/** A client of HTTP that sees each byte. */
export class RawClient {
  readonly socket: Socket
  readonly packets: Buffer[] = []
  bytes = 0
  closed = false

  constructor(where: Where) {
    this.socket = connect('port' in where ? { ...where, host: '127.0.0.1' } : where)
    this.socket.on('data', (packet: Buffer) => {
      this.packets.push(packet)
      this.bytes += packet.length
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => (this.closed = true))
  }

  static async connect(
    t: { teardown(work: () => unknown): unknown },
    where: Where,
    text: string | Buffer = '',
  ): Promise<RawClient> {
    const client = new RawClient(where)
    t.teardown(() => client.socket.destroy())
    await within('a connection', once(client.socket, 'connect'))
    if (text.length > 0) client.socket.write(text)
    return client
  }

  /** Forgets what has come. */
  clear(): void {
    this.packets.length = 0
  }

  get text(): string {
    return Buffer.concat(this.packets).toString('latin1')
  }

  get head(): string {
    const { text } = this
    return text.slice(0, text.indexOf('\r\n\r\n') + 4)
  }

  /** The content of the chunks that have come, and whether the last one has. */
  get chunked(): { readonly body: Buffer; readonly ended: boolean } {
    const all = Buffer.concat(this.packets)
    let at = all.indexOf('\r\n\r\n') + 4
    const parts: Buffer[] = []
    for (;;) {
      const end = all.indexOf('\r\n', at)
      if (end === -1) return { body: Buffer.concat(parts), ended: false }
      const length = Number.parseInt(all.toString('latin1', at, end), 16)
      if (length === 0) return { body: Buffer.concat(parts), ended: true }
      parts.push(all.subarray(end + 2, end + 2 + length))
      at = end + 2 + length + 2
      if (at > all.length) return { body: Buffer.concat(parts), ended: false }
    }
  }

  async until(what: string, probe: () => boolean): Promise<void> {
    await until(what, probe)
  }
}

export const GET = 'GET /a HTTP/1.1\r\nHost: a\r\n\r\n'
