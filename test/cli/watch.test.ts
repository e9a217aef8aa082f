import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { watchFiles } from '../../src/cli/watch.ts'
import { project, put } from '../support/installation.ts'
import { until } from '../support/wait.ts'

// `--watch` by itself; that a daemon reloads is in test/daemon/reload.test.ts.

interface Watched {
  readonly folder: string
  /** How often it was told so far. */
  changes: number
  /** What the next load answers. */
  good: boolean
  files: Set<string>
  /** Waits for one more change than before the work. */
  after(work: () => Promise<unknown>): Promise<void>
}

async function watchIn(t: Test, ...names: string[]): Promise<Watched> {
  const folder = await project(t, Object.fromEntries(names.map((name) => [name, '1'])))
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const watched: Watched = {
    folder,
    changes: 0,
    good: true,
    files: new Set(names.map((name) => path.join(folder, name))),
    after: async (work) => {
      const before = watched.changes
      await work()
      await until('a change', () => watched.changes > before)
      t.equal(watched.changes, before + 1, 'told once')
    },
  }
  watchFiles({
    signal: stop.signal,
    settleMs: 40,
    files: () => watched.files,
    onChange: async () => {
      watched.changes++
      return watched.good
    },
  })
  return watched
}

t.test('watch: a file written in place, several times in a row', async (t) => {
  const watched = await watchIn(t, 'a.ts', 'b/c.ts')
  await watched.after(() => put(path.join(watched.folder, 'a.ts'), '22'))
  await watched.after(async () => {
    for (const text of ['3', '33', '333']) await put(path.join(watched.folder, 'b/c.ts'), text)
  })
})

t.test('watch: a file that an editor replaces, again and again', async (t) => {
  const watched = await watchIn(t, 'a.ts')
  const file = path.join(watched.folder, 'a.ts')
  for (const text of ['x', 'y', 'z']) {
    await watched.after(async () => {
      await writeFile(`${file}~`, text)
      await rename(`${file}~`, file)
    })
  }
})

t.test('watch: a file, and a whole folder, that go and come back', async (t) => {
  const watched = await watchIn(t, 'a.ts', 'b/c/d.ts')
  const file = path.join(watched.folder, 'a.ts')
  watched.good = false
  await watched.after(() => rm(file))
  await watched.after(() => put(file, 'back'))
  await watched.after(() => rm(path.join(watched.folder, 'b'), { recursive: true }))
  await watched.after(() => put(path.join(watched.folder, 'b/c/d.ts'), 'back'))
  await watched.after(() => put(path.join(watched.folder, 'b/c/d.ts'), 'and changed'))
})

t.test('watch: what is not among the files does not matter, nor a touch of the folder', async (t) => {
  const watched = await watchIn(t, 'a.ts')
  await put(path.join(watched.folder, 'other.ts'), '1')
  await mkdir(path.join(watched.folder, 'new'))
  await delay(150)
  t.equal(watched.changes, 0)
})

t.test('watch: after a load that failed a new module beside the others is tried', async (t) => {
  const watched = await watchIn(t, 'a.ts')
  watched.good = false
  await watched.after(() => put(path.join(watched.folder, 'a.ts'), `import './missing.ts'`))
  watched.good = true
  await watched.after(() => put(path.join(watched.folder, 'missing.ts'), 'here'))
})

t.test(
  'watch: files that a reload has brought are watched, and a change during a load is not missed',
  async (t) => {
    const watched = await watchIn(t, 'a.ts')
    const added = path.join(watched.folder, 'lib/added.ts')
    await put(added, '1')
    watched.files = new Set([...watched.files, added])
    await watched.after(() => put(path.join(watched.folder, 'a.ts'), '22'))
    await watched.after(() => put(added, '22'))
  },
)
