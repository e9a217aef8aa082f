import { chmod, chown, cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../support/client.ts'
import { type Installation, install, installed, type RunOptions } from '../support/installation.ts'

// The embedded database and whoever starts the daemon: PostgreSQL refuses to run as root, and the user that it
// runs as for root can't enter a private home.

const NOBODY = 65534
const AS_NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath]
const skip = process.getuid?.() !== 0 && 'only root can become other users'

const it = await install(t)

t.test('start as an ordinary user, in a folder of its own', { skip }, async (t) => {
  const folder = await home(t, 0o700)
  await chown(folder, NOBODY, NOBODY)
  await works(t, it, { cwd: folder, through: AS_NOBODY, env: { HOME: folder } })
})

t.test('start as root', { skip }, async (t) => {
  await works(t, it, { cwd: await home(t, 0o755) })
})

t.test(
  "start as root in root's own home, package and all: data goes where the database can, and that is said",
  { skip },
  async (t) => {
    const folder = await home(t, 0o700)
    const own = path.join(folder, 'livemessages')
    await mkdir(own)
    for (const name of ['bin', 'client', 'dist', 'package.json', 'node_modules']) {
      await cp(path.join(it.folder, name), path.join(own, name), { recursive: true, verbatimSymlinks: true })
    }
    const lines = await works(t, installed(path.join(own, 'bin', 'livemessage.js')), {
      cwd: folder,
      env: { HOME: folder },
    })
    const told = lines.find((line) => JSON.stringify(line).includes('/var/'))
    t.ok(told, 'it says where')
  },
)

async function home(t: Test, mode: number): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-home-'))
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }))
  await chmod(folder, mode)
  return folder
}

/** Config from `init`, start, a NOTIFY that reaches a client, and a second start on the same data. */
async function works(t: Test, it: Installation, options: RunOptions) {
  t.match(await it.run(['init'], options), { code: 0 })
  const lines = []
  for (const text of ['first', 'second']) {
    const daemon = await it.start(t, ['-p', '0'], options)
    const client = await connect(t, daemon)
    await client.subscribe('chat:general')
    t.match(await it.run(['publish', 'chat:general', `"${text}"`, '--sql'], options), { code: 0, stderr: '' })
    t.match(await client.next({ type: 'message' }), { data: text })
    daemon.kill('SIGTERM')
    t.match(await daemon.ended, { code: 0, stderr: '' })
    lines.push(...daemon.lines)
  }
  return lines
}
