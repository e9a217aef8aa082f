import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The server has a core of its own; everything else (load, database, broker, this runner) shares the other. */
export const SERVER_CORE = '0'
export const OTHER_CORE = '1'
export const ALL_CORES = `${SERVER_CORE},${OTHER_CORE}`

/** Moves a process with all its threads, and so what it starts from now on. */
export async function pin(pid: number, core: string): Promise<void> {
  await run('taskset', ['-a', '-p', '-c', core, String(pid)])
}

/** The fields of /proc/<pid>/stat behind the command's name: state, parent, … */
function statFields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Resolves when the process has used no CPU time worth naming for 300 ms: closes and collections are over. */
export async function settle(pid: number, deadlineMs = 20_000): Promise<void> {
  const end = Date.now() + deadlineMs
  let before = await ticks(pid)
  for (let quiet = 0; quiet < 3;) {
    if (Date.now() > end) throw new Error(`process ${pid} is still busy after ${deadlineMs} ms`)
    await sleep(100)
    const now = await ticks(pid)
    quiet = now - before <= 1 ? quiet + 1 : 0
    before = now
  }
}

/** utime + stime in units of 10 ms. */
async function ticks(pid: number): Promise<number> {
  const fields = statFields(await readFile(`/proc/${pid}/stat`, 'utf8'))
  return Number(fields[11]) + Number(fields[12])
}

/** CPU seconds of the process so far, in steps of 10 ms. */
export async function cpuOf(pid: number): Promise<number> {
  return (await ticks(pid)) / 100
}

/** The same of a process and all its children, those that have ended included. */
export async function cpuOfFamily(pid: number): Promise<number> {
  const fields = statFields(await readFile(`/proc/${pid}/stat`, 'utf8'))
  let sum = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0)
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  for (const child of children.split(' ').filter(Boolean)) {
    sum += await ticks(Number(child)).catch(() => 0) // it has ended meanwhile
  }
  return sum / 100
}

/** Resident bytes. */
export async function memoryOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  return Number(/^Rss:\s+(\d+) kB/m.exec(text)?.[1] ?? Number.NaN) * 1024
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
