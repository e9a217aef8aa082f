import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ALL_CORES } from './process.ts'

const run = promisify(execFile)

export interface PgbenchOptions {
  readonly clients: number
  readonly seconds: number
}

export interface PgbenchResult {
  readonly perSecond: number
  /** Transactions that failed (serialization, deadlock). */
  readonly failed: number
}

/** Null where there is none: it comes with a server's packages, not with the npm package. */
export async function findPgbench(): Promise<string | null> {
  const base = '/usr/lib/postgresql'
  const majors = existsSync(base) ? (await readdir(base)).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [
    ...(process.env['PATH'] ?? '').split(':'),
    ...majors.map((major) => `${base}/${major}/bin`),
  ]
  return folders.map((folder) => `${folder}/pgbench`).find((file) => existsSync(file)) ?? null
}

/** One run of a script, on all cores, with prepared statements and one thread. */
export async function pgbench(
  program: string,
  url: string,
  script: string,
  { clients, seconds }: PgbenchOptions,
): Promise<PgbenchResult> {
  const folder = await mkdtemp(join(tmpdir(), 'livemessages-bench-'))
  const file = join(folder, 'script.sql')
  const args = ['-n', '-f', file, '-M', 'prepared', '-c', `${clients}`, '-j', '1', '-T', `${seconds}`]
  const command = ['-c', ALL_CORES, program, ...args, url]
  let stdout: string
  try {
    await writeFile(file, script)
    ;({ stdout } = await run('taskset', command, { timeout: (seconds + 60) * 1000 }))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN)
  const perSecond = number(/^tps = ([\d.]+) \(without/m)
  // In a short run on a busy machine, the connecting may take all of it.
  if (!(perSecond > 0)) throw new Error(`pgbench measured nothing:\n${stdout}`)
  return { perSecond, failed: number(/^number of failed transactions: (\d+)/m) || 0 }
}
