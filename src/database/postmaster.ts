import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, isAlive, isPostgres } from './process.ts'

/** What a running server says of itself in `postmaster.pid`. */
export interface Postmaster {
  readonly pid: number
  /** Null in the first moments. */
  readonly port: number | null
  readonly status: 'starting' | 'ready' | 'stopping'
}

/** The server that runs on this data folder; null when none does. */
export async function findPostmaster(home: string): Promise<Postmaster | null> {
  const postmaster = await readPostmaster(home)
  if (postmaster === null) return null
  return (await isPostgres(postmaster.pid, path.join(home, 'data'))) ? postmaster : null
}

/**
 * Removes the pid file of a server that is gone. The server itself would take any living process of its user
 * for another server: after a restart of a container, where numbers begin anew, that is a common thing.
 */
export async function removeStalePostmaster(home: string): Promise<void> {
  const postmaster = await readPostmaster(home)
  if (postmaster === null || !isAlive(postmaster.pid)) return // the server handles this one better
  await rm(path.join(home, 'data', 'postmaster.pid'), { force: true })
}

/** Resolves true when the server takes connections, false when it has ended. Rejects at the deadline. */
export async function untilReady(home: string, pid: number, deadline: number): Promise<boolean> {
  while (isAlive(pid)) {
    const postmaster = await readPostmaster(home)
    if (postmaster?.pid === pid && postmaster.status === 'ready') return true
    if (performance.now() > deadline) throw new Error('it took too long to become ready')
    await delay(5)
  }
  return false
}

/** Ends the server: connections are cut, what is committed is on disk. False when it would not go. */
export async function endPostmaster(home: string, pid: number, timeoutMs: number): Promise<boolean> {
  // SIGINT is a fast shutdown, SIGQUIT leaves the rest to crash recovery.
  for (const [signal, waitMs] of [['SIGINT', timeoutMs] as const, ['SIGQUIT', 5000] as const]) {
    if (!(await isPostgres(pid, path.join(home, 'data')))) return true
    try {
      process.kill(pid, signal)
    } catch (error) {
      if (codeOf(error) === 'ESRCH') return true
      throw error
    }
    for (const deadline = performance.now() + waitMs; performance.now() < deadline; await delay(5)) {
      if (!isAlive(pid)) return true
    }
  }
  return false
}

// Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
async function readPostmaster(home: string): Promise<Postmaster | null> {
  let lines: string[]
  try {
    lines = (await readFile(path.join(home, 'data', 'postmaster.pid'), 'utf8')).split('\n')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
  const pid = Number(lines[0])
  // A single-user server writes its number negated; half-written files have none.
  if (!Number.isInteger(pid) || pid === 0) return null
  const status = lines[7]?.trim()
  return {
    pid: Math.abs(pid),
    port: Number(lines[3]) || null,
    status: status === 'ready' || status === 'stopping' ? status : 'starting',
  }
}
