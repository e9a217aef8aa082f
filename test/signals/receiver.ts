import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Signal } from '../../src/signals/signal.ts'
import { verifyWebhook } from '../../src/signals/signature.ts'
import { type Teardown, until } from '../support/wait.ts'

export const SECRET = 'a secret of the webhooks in tests'

/** What a receiver does with a request; by default it takes it. */
export type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void

/** An application that is told signals: it verifies and records what it took. */
export interface Receiver {
  readonly url: string
  /** What it took, in the order of arrival, repetitions included. */
  readonly signals: readonly Signal[]
  /** How many signals each request that it took had. */
  readonly batches: readonly number[]
  readonly attempts: number
  /** Requests under way at once, at the most. */
  readonly atOnce: number
  behave(behaviour: Behaviour | null): void
  /** Waits until these have been taken; resolves with all that were. */
  took(
    what: string,
    holds: (signals: readonly Signal[]) => boolean,
    deadlineMs?: number,
  ): Promise<readonly Signal[]>
  names(): string[]
  close(): Promise<void>
  open(): Promise<void>
}

export async function startReceiver(t: Teardown): Promise<Receiver> {
  const signals: Signal[] = []
  const batches: number[] = []
  let attempts = 0
  let underWay = 0
  let atOnce = 0
  let behaviour: Behaviour | null = null
  let port = 0
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = []
    attempts++
    atOnce = Math.max(atOnce, ++underWay)
    response.on('close', () => underWay--)
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      if (behaviour !== null) return behaviour(request, response, body)
      const told = verifyWebhook({ headers: request.headers, body }, SECRET)
      signals.push(...told)
      batches.push(told.length)
      response.writeHead(204).end()
    })
  }
  let server = createServer(answer)
  const receiver: Receiver = {
    get url() {
      return `http://127.0.0.1:${port}/live`
    },
    signals,
    batches,
    get attempts() {
      return attempts
    },
    get atOnce() {
      return atOnce
    },
    behave: (next) => (behaviour = next),
    took: async (what, holds, deadlineMs) => {
      try {
        await until(what, () => holds(signals), deadlineMs)
      } catch (error) {
        throw new Error(`taken so far: ${receiver.names().join()}`, { cause: error })
      }
      return signals
    },
    names: () => signals.map(({ name }) => name),
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
    open: async () => {
      server = createServer(answer).listen(port, '127.0.0.1')
      await once(server, 'listening')
      port = (server.address() as AddressInfo).port
    },
  }
  await receiver.open()
  t.teardown(() => receiver.close())
  return receiver
}

/** Signals of one connection, by name. */
export function of(signals: readonly Signal[], session: string): string[] {
  return signals.filter((signal) => signal.session === session).map(({ name }) => name)
}

/** Those without the repetitions that a target must reckon with. */
export function distinct(signals: readonly Signal[]): Signal[] {
  return [...new Map(signals.map((signal) => [signal.id, signal])).values()]
}
