import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { execute, freePort, installed } from '../support/installation.ts'

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))

t.test(
  'npm pack: the tarball installs in an empty folder, and init, start, listen, publish work there',
  async (t) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-pack-'))
    t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }))
    const packed = await execute('npm', ['pack', REPOSITORY, '--json', '--pack-destination', folder])
    const [{ filename, files }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf('['))) as [
      { filename: string; files: { path: string }[] },
    ]
    const names = files.map((file) => file.path)
    for (const name of [
      'bin/livemessage.js',
      'dist/src/index.d.ts',
      'dist/src/testing/index.d.ts',
      'dist/actions/chat/say.js',
      'README.md',
      'LICENSE',
    ]) {
      t.ok(names.includes(name), name)
    }
    const foreign = names.filter((name) =>
      /^(src|test|bench|actions|node_modules)\/|^\.|\.tsbuildinfo$/.test(name),
    )
    t.strictSame(foreign, [], 'and nothing that is only for those who develop it')

    const quiet = ['--no-audit', '--no-fund', '--prefer-offline']
    await execute('npm', ['install', ...quiet, `./${filename}`], { cwd: folder })
    const it = installed(path.join(folder, 'node_modules', '.bin', 'livemessage'))
    t.match(await it.run(['init'], { cwd: folder }), { code: 0 })
    const port = String(await freePort())
    await it.start(t, ['-p', port], { cwd: folder })
    const url = ['--url', `http://127.0.0.1:${port}`]
    const listening = it.spawn(t, ['listen', 'chat:general', '--last', '1', '--count', '1', ...url], {
      cwd: folder,
    })
    t.match(await it.run(['publish', 'chat:general', '"packed"', ...url], { cwd: folder }), { code: 0 })
    t.match(await listening.ended, { code: 0, stdout: /"data":"packed"/ })
    t.match(await it.run(['publish', 'chat:general', '"sql"', '--sql'], { cwd: folder }), { code: 0 })

    // What a user's own program imports, types and all.
    const script = `import * as own from 'livemessages'
    import say from 'livemessages/actions/chat/say'
    console.log(typeof own.defineConfig, typeof say.handle)`
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', script], { cwd: folder })
    t.equal(stdout, 'function function\n')
  },
)
