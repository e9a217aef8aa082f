import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chown, mkdir, readdir, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Binaries } from '../../src/database/binaries.ts'
import { numberOf, withClient } from './postgres.ts'
import type { Postgres } from './postgres.ts'
import { ALL_CORES, freePort } from './process.ts'
import { newFolder, removeFolder } from './server.ts'

const run = promisify(execFile)
const DEADLINE_MS = 30_000

/** The newest of the system's servers that can copy itself, which the package's can't; null where there is none. */
export async function findReplicable(): Promise<Binaries | null> {
  const base = '/usr/lib/postgresql'
  const majors = existsSync(base) ? (await readdir(base)).map(Number).sort((a, b) => b - a) : []
  const major = majors.find((one) => existsSync(`${base}/${one}/bin/pg_basebackup`))
  return major === undefined ? null : { folder: `${base}/${major}`, version: String(major), major }
}

/** A replica on the same machine and disk, for which every commit waits. Resolves with what ends it. */
export async function startReplica(primary: Postgres, { folder }: Binaries): Promise<() => Promise<void>> {
  const home = await newFolder()
  const data = `${home}/replica`
  const { uid, gid } = await stat(`${primary.directory}/data`)
  const port = await freePort()
  await mkdir(data, { mode: 0o700 })
  await chown(data, uid, gid)
  await run(
    `${folder}/bin/pg_basebackup`,
    ['-D', data, '-d', primary.url, '-R', '-X', 'stream', '-c', 'fast'],
    {
      uid,
      gid,
      cwd: data,
    },
  )
  const settings = [`port=${port}`, 'unix_socket_directories=', 'listen_addresses=127.0.0.1']
  const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])]
  const child = spawn('taskset', ['-c', ALL_CORES, `${folder}/bin/postgres`, ...args], {
    stdio: 'ignore',
    cwd: data,
    uid,
    gid,
  })
  const gone = once(child, 'exit')
  async function stop(): Promise<void> {
    await withClient(primary.url, async (client) => {
      await client.query(`ALTER SYSTEM RESET synchronous_standby_names`)
      await client.query('SELECT pg_reload_conf()')
    })
    child.kill('SIGINT')
    await gone
    await removeFolder(home)
  }
  try {
    await withClient(primary.url, async (client) => {
      await client.query(`ALTER SYSTEM SET synchronous_standby_names = '*'`)
      await client.query('SELECT pg_reload_conf()')
      const end = performance.now() + DEADLINE_MS
      const count = `SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'`
      while ((await numberOf(client, count)) === 0) {
        if (child.exitCode !== null) throw new Error(`the replica ended with ${child.exitCode}`)
        if (performance.now() > end) throw new Error(`the replica is not in step after ${DEADLINE_MS} ms`)
        await sleep(50)
      }
    })
  } catch (error) {
    await stop()
    throw error
  }
  return stop
}
