import { chmod, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { openFolder } from '../support/postgres.ts'

/** Two nodes on unix sockets that a proxy of another user may connect to. */
export async function startSocketNodes(
  t: Test,
): Promise<{ servers: string[]; first: () => { readonly address: string }[] }> {
  const folder = await openFolder()
  const servers = ['a.sock', 'b.sock'].map((name) => path.join(folder, name))
  const daemons: TestDaemon[] = []
  for (const socket of servers) {
    daemons.push(
      await startDaemon(t, {
        ACTIONS: { chat: {} },
        channels: { chat: { access: 'public', history: {} } },
        socket,
        trustedProxies: ['unix'],
      }),
    )
    await chmod(socket, 0o666)
  }
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return {
    servers,
    first: () => daemons.flatMap(({ daemon }) => [...(daemon.hub ?? [])]),
  }
}
