import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import type { Teardown } from './wait.ts'

/** A TCP proxy in front of a server, to cause the faults that a network has. */
export interface TcpProxy {
  readonly port: number
  /** The url with host and port replaced by the proxy's. */
  url(target: string): string
  /** Connections that are open now, on either side. */
  readonly connections: number
  /** Clients that are connected now. */
  readonly clients: number
  /** Connections that ever came, refused ones included. */
  readonly accepted: number
  /** Destroys all connections. New ones are accepted. */
  cut(): void
  /** Destroys new connections at once. */
  refuse(): void
  accept(): void
  /** Swallows all bytes both ways and tells nobody: a cable pulled out. */
  blackhole(on: boolean): void
  /** Holds each chunk back for so long. */
  delay(ms: number): void
  close(): Promise<void>
}

/** Starts a proxy on a free port to the host and port of `target`; closes at teardown. */
export async function startProxy(t: Teardown, target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target)
  const pairs = new Set<readonly [Socket, Socket]>()
  let refusing = false
  let swallowing = false
  let delayMs = 0
  let accepted = 0
  let clients = 0

  const server = createServer((client) => {
    accepted++
    clients++
    client.on('error', () => client.destroy())
    client.once('close', () => clients--)
    if (refusing) {
      client.destroy()
      return
    }
    const upstream = connect({ host: hostname, port: Number(port) })
    const pair = [client, upstream] as const
    pairs.add(pair)
    for (const [from, to] of [pair, [upstream, client]] as const) {
      from.setNoDelay(true)
      from.on('data', (chunk) => {
        if (swallowing) return
        if (delayMs === 0) to.write(chunk)
        else setTimeout(() => !to.destroyed && to.write(chunk), delayMs)
      })
      from.on('error', () => from.destroy())
      from.on('close', () => {
        // An end is a packet too: nobody hears of it in a black hole.
        if (!swallowing) to.destroy()
        if (client.destroyed && upstream.destroyed) pairs.delete(pair)
      })
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  const own = address.port

  const cut = (): void => {
    for (const [client, upstream] of pairs) {
      client.destroy()
      upstream.destroy()
    }
    pairs.clear()
  }
  const proxy: TcpProxy = {
    port: own,
    url: (text) => {
      const url = new URL(text)
      url.hostname = '127.0.0.1'
      url.port = String(own)
      return url.href
    },
    get connections() {
      return pairs.size
    },
    get clients() {
      return clients
    },
    get accepted() {
      return accepted
    },
    cut,
    refuse: () => void (refusing = true),
    accept: () => void (refusing = false),
    blackhole: (on) => void (swallowing = on),
    delay: (ms) => void (delayMs = ms),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        cut()
      }),
  }
  t.teardown(() => proxy.close())
  return proxy
}
