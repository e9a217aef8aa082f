import { createHash } from 'node:crypto'
import { chmod, lstat, mkdir, readFile, realpath, stat, symlink } from 'node:fs/promises'
import path from 'node:path'
import { LivemessageError, messageOf } from '../errors.ts'
import type { Log } from '../ops/log.ts'
import { codeOf, runScript, unless } from './process.ts'
import type { ServerUser } from './process.ts'

/** Where an embedded server lives, and as whom. */
export interface Place {
  /** `postgres.directory`: the password and the port are here, and `server`, a folder or a link to one. */
  readonly directory: string
  /** The server's own folder, links resolved: nobody but its user writes there. Holds `data` and `log`. */
  readonly home: string
  /** Null: the daemon's own user. */
  readonly user: ServerUser | null
}

export interface PlaceOptions {
  /** System users that may run the server when the daemon runs as root; the first that exists does. */
  readonly users: readonly string[]
  /** Where the server's folder goes when its user can't enter `directory`. */
  readonly bases: (hash: string) => readonly string[]
  readonly log: Log
}

/** Finds or makes the server's folder. */
export async function findPlace(directory: string, options: PlaceOptions): Promise<Place> {
  const root = process.getuid?.() === 0
  try {
    // Folders of others on the way to the data need only be entered, not read.
    await mkdir(directory, { recursive: true, mode: root ? 0o711 : 0o700 })
    const link = path.join(directory, 'server')
    const home = (await homeAt(link)) ?? (await makeHome(link, root ? options : null))
    return { directory, home, user: root ? await ownerOf(home, options) : await ownUser(home) }
  } catch (error) {
    if (error instanceof LivemessageError) throw error
    throw new LivemessageError('DATABASE_FAILED', `postgres.directory ${directory}: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

async function homeAt(link: string): Promise<string | null> {
  try {
    await lstat(link)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
  try {
    return await realpath(link)
  } catch (error) {
    throw new LivemessageError(
      'DATABASE_FAILED',
      `postgres: ${link} leads to a folder that is gone or closed (${messageOf(error)}): bring the data back, ` +
        'or remove the link to begin with an empty database',
      { cause: error },
    )
  }
}

async function makeHome(link: string, asRoot: PlaceOptions | null): Promise<string> {
  if (asRoot === null) {
    await mkdir(link, { mode: 0o700 }).catch(unless('EEXIST'))
    return realpath(link)
  }
  const user = await systemUser(asRoot.users)
  const directory = path.dirname(link)
  if (await canEnter(directory, user)) {
    await mkdir(link, { mode: 0o700 }).catch(unless('EEXIST'))
    return realpath(link)
  }
  const hash = createHash('sha256')
    .update(await realpath(directory))
    .digest('hex')
    .slice(0, 12)
  for (const base of asRoot.bases(hash)) {
    if (!(await isOurs(base)) || !(await canEnter(base, user))) continue
    const home = path.join(base, hash)
    await mkdir(home, { mode: 0o700 }).catch(unless('EEXIST'))
    await symlink(home, link).catch(unless('EEXIST'))
    const place = await realpath(link)
    asRoot.log.info(
      { directory, place, uid: user.uid },
      "PostgreSQL's data lives where its user can go: the directory is closed to it",
    )
    return place
  }
  throw new LivemessageError(
    'DATABASE_FAILED',
    `postgres: PostgreSQL refuses to run as root, and user ${user.uid} can enter neither ${directory} nor any of ` +
      `${asRoot.bases(hash).join(', ')}: set postgres.directory to a folder whose parents others may enter`,
  )
}

/** A folder that root made and nobody else can put things into: /var/tmp is open to all. */
async function isOurs(base: string): Promise<boolean> {
  try {
    if ((await mkdir(base, { recursive: true })) !== undefined) await chmod(base, 0o755) // whatever the umask
    const { uid, mode } = await lstat(base).then((entry) =>
      entry.isDirectory() ? entry : { uid: -1, mode: 0 },
    )
    return uid === 0 && (mode & 0o022) === 0
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST'].includes(codeOf(error) ?? '')) return false
    throw error
  }
}

/** The user that the data belongs to; data that fell to root (a copied project) is given back to the server's user. */
async function ownerOf(home: string, { users }: PlaceOptions): Promise<ServerUser> {
  const { uid, gid } = await stat(home)
  if (uid !== 0) return { uid, gid }
  const user = await systemUser(users)
  const { code, output } = await runScript('chown -R "$1" "$2"', [`${user.uid}:${user.gid}`, home], {
    user: null,
  })
  if (code !== 0) throw new Error(output.trim())
  return user
}

async function ownUser(home: string): Promise<null> {
  const { uid } = await stat(home)
  const own = process.getuid?.() ?? uid
  if (uid === own) return null
  throw new LivemessageError(
    'DATABASE_FAILED',
    `postgres: ${home} belongs to user ${uid}, and the daemon runs as user ${own}: run it as ` +
      `that user, or give the folder away (chown -R), or name another postgres.directory`,
  )
}

async function systemUser(names: readonly string[]): Promise<ServerUser> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  for (const name of names) {
    const [, , uid, gid] = lines.find(([user]) => user === name) ?? []
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new LivemessageError(
    'DATABASE_FAILED',
    `postgres: PostgreSQL refuses to run as root, and none of the users ${names.join(', ')} exists here: ` +
      'run the daemon as an ordinary user, or set postgres.url to a database of your own',
  )
}

async function canEnter(folder: string, user: ServerUser): Promise<boolean> {
  return (await runScript('cd "$1"', [folder], { user })).code === 0
}
