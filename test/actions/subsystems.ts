import type { Test } from 'tap'
import { signToken } from '../../src/auth/sign.ts'
import { type CallError, connect, type TestClient } from '../support/client.ts'
import type { TestConfig, TestDaemon } from '../support/daemon.ts'

export const SECRET = 'a secret of thirty-two bytes, at least'

/** Both built-in subsystems, with the names of old pages beside ours. */
export const ACTIONS: NonNullable<TestConfig['ACTIONS']> = {
  messages: {
    all: './actions/messages/all.ts',
    query: './actions/messages/all.ts',
    read: './actions/messages/read.ts',
    delete: './actions/messages/delete.ts',
    'not-read-count': './actions/messages/not-read-count.ts',
    'count-not-read': './actions/messages/not-read-count.ts',
    countNotRead: './actions/messages/not-read-count.ts',
    sender: './actions/messages/sender.ts',
  },
  tasks: {
    all: './actions/tasks/all.ts',
    query: './actions/tasks/all.ts',
    delete: './actions/tasks/delete.ts',
    cancel: './actions/tasks/cancel.ts',
    'progress-count': './actions/tasks/progress-count.ts',
    progress: './actions/tasks/progress-count.ts',
    sender: './actions/tasks/sender.ts',
  },
}

export const CONFIG: TestConfig = {
  ACTIONS,
  channels: {
    messages: { access: 'user', history: { count: 1000 } },
    tasks: { access: 'user', delivery: 'transient', conflate: 'id' },
  },
  auth: { jwt: { secret: SECRET } },
}

export function tokenOf(user: string): string {
  return signToken(user, { secret: SECRET, algorithms: ['HS256'] })!
}

/** A user, connected. */
export async function enter(t: Test, daemon: TestDaemon, user: string): Promise<TestClient> {
  return connect(t, daemon, { token: tokenOf(user) })
}

/** The error that a call is refused with. */
export async function refusal(call: Promise<unknown>): Promise<CallError> {
  return call.then(
    (answer) => Promise.reject(new Error(`expected an error, got ${JSON.stringify(answer)}`)),
    (error: CallError) => error,
  )
}

/** `POST /api/notify`; resolves with status and body. */
export async function notify(
  daemon: { readonly url: string },
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${daemon.url}/api/notify`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}
