import { once } from 'node:events'
import { WebSocket } from 'ws'
import { type Teardown, within } from '../support/wait.ts'

/** A raw WebSocket whose messages wait to be asked for. */
export class Raw {
  readonly socket: WebSocket
  readonly closed: Promise<unknown>
  readonly #came: (string | Buffer)[] = []
  #wake: () => void = () => undefined

  constructor(t: Teardown, url: string) {
    this.socket = new WebSocket(url)
    this.socket.on('message', (data: Buffer, isBinary) => {
      this.#came.push(isBinary ? data : data.toString())
      this.#wake()
    })
    this.socket.on('error', () => undefined)
    this.closed = new Promise((resolve) => this.socket.once('close', resolve))
    t.teardown(() => this.socket.terminate())
  }

  /** The next packet that is no ping. */
  async next(): Promise<string | Buffer> {
    return within(
      'a packet',
      (async () => {
        for (;;) {
          const message = this.#came.shift()
          if (message !== undefined && message !== '2') return message
          if (message === undefined) {
            await new Promise<void>((resolve) => {
              this.#wake = resolve
            })
          }
        }
      })(),
    )
  }

  async opened(): Promise<this> {
    await within('the upgrade', once(this.socket, 'open'))
    return this
  }

  end(): Promise<unknown> {
    return within('the close', this.closed)
  }
}

/** Opens a polling session. @param url with the protocol's version */
export async function openSession(url: string): Promise<string> {
  const response = await fetch(`${url}&transport=polling`)
  return JSON.parse((await response.text()).slice(1)).sid
}
