import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { freePort } from './installation.ts'
import { find, PGBOUNCER } from './packages.ts'
import { openFolder } from './postgres.ts'
import type { Teardown } from './wait.ts'
import { until } from './wait.ts'

/** What it runs as for root, whom it refuses: the user `nobody` of every Linux. */
const NOBODY = 65534

/**
 * A PgBouncer of one test's own in transaction mode, in front of `url`, with few connections to the server for many
 * clients. Resolves with the URL by which `role` (its password is its name) comes through it.
 */
export async function startPgBouncer(t: Teardown, url: string, role: string): Promise<string> {
  const program = find(PGBOUNCER)
  if (program === null) throw new Error('pgbouncer is not installed')
  const server = new URL(url)
  const [port, folder] = [await freePort(), await openFolder()]
  const users = path.join(folder, 'users.txt')
  const config = path.join(folder, 'pgbouncer.ini')
  await writeFile(users, `"${role}" "${role}"\n`)
  await writeFile(
    config,
    `[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = plain
auth_file = ${users}
pool_mode = transaction
default_pool_size = 3
`,
  )
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : null
  if (user !== null) for (const file of [folder, users, config]) await chown(file, user.uid, user.gid)
  const child = spawn(program, [config], { ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'exit')
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  })
  await until('PgBouncer', () => {
    if (child.exitCode !== null) throw new Error(said)
    return isOpen(port)
  })
  return `postgres://${role}:${role}@127.0.0.1:${port}${server.pathname}`
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
