import { SignJWT } from 'jose'
import { messages } from '../../actions/messages/migration.ts'
import { migrate } from '../../src/database/migrate.ts'
import { CALLER, SECRET } from '../support/limits.ts'
import type { Measured } from '../support/load.ts'
import { withClient } from '../support/postgres.ts'
import type { Row } from '../support/report.ts'
import { alternate, row, verify, withLoad } from '../support/scenario.ts'
import type { AlternateOptions } from '../support/scenario.ts'
import type { Bench, Rounds, Scenario } from '../support/scenario.ts'
import type { Server } from '../support/server.ts'

const NOTHING = '{"type":"call","id":%d,"action":"bench.nothing","data":{}}'
const READ = '{"type":"call","id":%d,"action":"messages.read","data":{"id":1%d}}'
/** The messages' ids are 1 with a number behind it: 10 to 19,999. */
const MESSAGES = 10_000

/** What a call costs: of an action that does nothing, and of one that is a single statement. */
export const calls: Scenario = {
  name: 'calls',
  async run(bench) {
    const rows: Row[] = []
    for (const connections of [1, 1000]) {
      const title = `calls of nothing, ${connections.toLocaleString('en')} connections`
      const ask = { frame: NOTHING, spread: 1_000_000, connections }
      const rounds = await measure(bench, title, ask, { control: '/echo', daemon: '/ws' })
      rows.push(...rowsOf(title, rounds, { perCpu: 0.6 }))
    }
    const token = await tokenOf(CALLER)
    const title = 'messages.read, 64 connections'
    const rounds = await measure(
      bench,
      title,
      { frame: READ, spread: MESSAGES, connections: 64 },
      { control: '/update', daemon: `/ws?token=${token}` },
      { database: await withMessages(bench), controlDatabase: await withMessages(bench) },
    )
    rows.push(...rowsOf(title, rounds, { perSecond: 0.9 }))
    return rows
  },
}

function measure(
  bench: Bench,
  title: string,
  ask: { readonly frame: string; readonly spread: number; readonly connections: number },
  paths: Readonly<Record<Server['kind'], string>>,
  options: AlternateOptions = {},
): Promise<Rounds<Measured>> {
  const window = { seconds: bench.quick ? 1 : 4, warmup: bench.quick ? 0.3 : 1 }
  return alternate(
    bench,
    title,
    (server) =>
      withLoad(server, async (load) =>
        verify(bench, server, title, await load.call({ ...ask, ...window, path: paths[server.kind] })),
      ),
    options,
  )
}

function rowsOf(
  title: string,
  rounds: Rounds<Measured>,
  { perSecond, perCpu }: { readonly perSecond?: number; readonly perCpu?: number },
): Row[] {
  const target = (ratio: number | undefined) => (ratio === undefined ? undefined : { ratio })
  return [
    row(title, 'calls/s', rounds, (m) => m.sent / m.seconds, target(perSecond)),
    row(title, 'calls per CPU-second', rounds, (m) => m.sent / m.serverCpu, target(perCpu)),
    row(title, 'answer p50, ms', rounds, (m) => m.answers.p50 / 1e6),
    row(title, 'answer p99, ms', rounds, (m) => m.answers.p99 / 1e6),
  ]
}

/** A database with as many messages of one user, all unread. */
async function withMessages(bench: Bench): Promise<string> {
  const url = await bench.database()
  await migrate(url, { components: [messages] })
  await withClient(url, (client) =>
    client.query(
      `INSERT INTO livemessage_messages.message (to_user, subject) SELECT $1, 'hello' FROM generate_series(1, $2)`,
      [CALLER, 2 * MESSAGES],
    ),
  )
  return url
}

function tokenOf(user: string): Promise<string> {
  const key = new TextEncoder().encode(SECRET)
  return new SignJWT({})
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user)
    .setExpirationTime('1h')
    .sign(key)
}
