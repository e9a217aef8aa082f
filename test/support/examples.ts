import { chmod, cp, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { execute, type Installation, install, project, put, type RunningDaemon } from './installation.ts'
import type { Teardown } from './wait.ts'

export const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url))

/** The examples beside an installed package, in a folder of a user's. */
export interface Examples {
  /** Starts one as its README says, on a free port. */
  start(t: Teardown, name: string): Promise<RunningDaemon>
  /** Runs the README's lines that have this in them, as they stand there, with a few arguments more. */
  follow(name: string, part: string, more?: string): Promise<string>
  /** Of `livemessage token`. */
  token(name: string, user: string): Promise<string>
}

export async function examples(t: Teardown): Promise<Examples> {
  const it = await install(t)
  const folder = await project(t, {})
  await cp(EXAMPLES, path.join(folder, 'examples'), {
    recursive: true,
    filter: (source) => !/(^|\/)(\.livemessages|node_modules)$/.test(source),
  })
  const shims = await shim(it, folder)
  const follow = async (name: string, part: string, more = ''): Promise<string> => {
    const lines = (await commandsOf(name)).filter((line) => line.includes(part))
    if (lines.length === 0) throw new Error(`no line with '${part}' in the README of ${name}`)
    let printed = ''
    for (const line of lines) printed += (await sh(`${line} ${more}`)).stdout
    return printed
  }
  const sh = (line: string): Promise<{ readonly stdout: string }> =>
    execute('sh', ['-c', `PATH='${shims}':"$PATH"; ${line}`], { cwd: folder, timeout: 60_000 })
  return {
    follow,
    token: async (name, user) =>
      (await sh(`npx livemessage token ${user} -c examples/${name}/livemessages.config.ts`)).stdout.trim(),
    async start(t, name) {
      const line = (await commandsOf(name)).find((command) => command.startsWith('npx livemessage start '))
      if (line === undefined) throw new Error(`the README of ${name} does not say how to start it`)
      const [, , , ...args] = line.split(' ')
      return it.start(t, [...args, '-p', '0'], { cwd: folder })
    },
  }
}

/** Every `npx livemessage …` of an example's README, lines that go on joined. */
async function commandsOf(name: string): Promise<string[]> {
  const text = await readFile(path.join(EXAMPLES, name, 'README.md'), 'utf8')
  return text
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.startsWith('npx livemessage '))
}

/** A folder whose `npx` runs the package that is under test. */
async function shim({ folder }: Installation, base: string): Promise<string> {
  const file = path.join(base, '.bin', 'npx')
  const bin = path.join(folder, 'bin', 'livemessage.js')
  await put(file, `#!/bin/sh\nshift\nexec '${process.execPath}' '${bin}' "$@"\n`)
  await chmod(file, 0o755)
  return path.dirname(file)
}

/** The lines of each file of an example's own code. */
export async function linesOf(name: string): Promise<ReadonlyMap<string, number>> {
  const lines = new Map<string, number>()
  for (const entry of await readdir(path.join(EXAMPLES, name), { recursive: true })) {
    if (!/\.[jt]s$/.test(entry) || /node_modules|\.livemessages/.test(entry)) continue
    const text = await readFile(path.join(EXAMPLES, name, entry), 'utf8')
    lines.set(entry, text.trimEnd().split('\n').length)
  }
  return lines
}
