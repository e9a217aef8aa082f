import type { Test } from 'tap'
import { connect, type Frame, type TestClient } from '../support/client.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { SECRET, token } from './both.ts'

const CONFIG: TestConfig = {
  ACTIONS: { inbox: {}, short: {}, chat: {}, open: {} },
  channels: {
    inbox: { access: 'user', delivery: 'mailbox' },
    short: { access: 'authenticated', delivery: 'mailbox', history: { count: 5 } },
    chat: { access: 'public', history: {} },
    open: { access: 'public', delivery: 'mailbox' },
  },
  journal: 'postgres',
  auth: { jwt: { secret: SECRET } },
}

export interface Mail {
  readonly server: TestPostgres
  readonly daemon: TestDaemon
  /** A device of the user. */
  device(user: string, query?: string): Promise<TestClient>
  put(channel: string, ...data: unknown[]): Promise<string[]>
  again(config?: TestConfig): Promise<Mail>
}

export async function startMail(t: Test, config: TestConfig = {}, server?: TestPostgres): Promise<Mail> {
  const database = server ?? (await startPostgres(t, { settings: { synchronous_commit: 'on' } }))
  const daemon = await startDaemon(
    t,
    { ...CONFIG, postgres: { url: database.url }, ...config },
    { migrate: true },
  )
  return {
    server: database,
    daemon,
    device: async (user, query = '') =>
      connect(t, daemon, { query: `token=${await token(user)}${query === '' ? '' : `&${query}`}` }),
    async put(channel, ...data) {
      const ids: string[] = []
      for (const one of data) {
        const { status, body } = await daemon.publish(channel, one)
        if (status !== 200) throw new Error(JSON.stringify(body))
        ids.push((body as { id: string }).id)
      }
      return ids
    },
    async again(other = config) {
      await daemon.stop()
      return startMail(t, other, database)
    },
  }
}

export function messages(client: TestClient, channel?: string): Frame[] {
  return client.frames
    .flatMap((frame) => (frame.type === 'subscribed' ? (frame['messages'] as Frame[]) : [frame]))
    .filter((frame) => 'data' in frame && (channel === undefined || frame['channel'] === channel))
}

export function datas(client: TestClient, channel?: string): unknown[] {
  return messages(client, channel)
    .filter((frame) => frame.type !== 'reply')
    .map((frame) => frame['data'])
}

export function confirm(client: TestClient, cursor: string | undefined, channel = 'inbox:1'): Promise<Frame> {
  return client.ask({ type: 'confirm', channel, cursor })
}
