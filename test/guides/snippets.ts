import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createModuleLoader } from '../../src/config/modules.ts'
import type { TestConfig } from '../support/daemon.ts'
import { type Teardown, within } from '../support/wait.ts'

const DOCS = path.resolve(import.meta.dirname, '../../docs')

/** A fenced block of a page that stands under `<!-- test: name -->`. */
export interface Snippet {
  readonly name: string
  readonly language: string
  readonly text: string
}

/** The marked blocks of a page, by their names. */
export interface Page {
  snippet(name: string): string
  readonly marked: readonly Snippet[]
  /** Its links to other files of the repository, anchors included, and whether there is something. */
  readonly links: readonly { readonly target: string; readonly found: boolean }[]
}

const BLOCK = /(?:<!-- test: (?<name>\S+) -->\n)?```(?<language>\w+)\n(?<text>[\s\S]*?)\n```/g

/** Reads a page of the docs. @throws where a mark is not right above a block, or stands twice */
export async function readPage(file: string): Promise<Page> {
  const page = await readFile(path.join(DOCS, file), 'utf8')
  const all = [...page.matchAll(BLOCK)].map(({ groups }) => ({
    name: groups!['name'],
    language: groups!['language']!,
    text: `${groups!['text']!}\n`,
  }))
  const marked = all.flatMap(({ name, ...block }) => (name === undefined ? [] : [{ name, ...block }]))
  const marks = page.split('<!-- test: ').length - 1
  const names = new Set(marked.map(({ name }) => name))
  if (names.size !== marks)
    throw new Error(`${file}: ${marks} marks, ${names.size} blocks of different names`)
  return {
    marked,
    snippet(name) {
      const found = marked.find((one) => one.name === name)
      if (found === undefined) throw new Error(`${file} has no block '${name}'`)
      return found.text
    },
    links: await Promise.all(
      [...page.replace(BLOCK, '').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(async ([, target]) => ({
        target: target!,
        found: await leads(path.join(DOCS, file), target!),
      })),
    ),
  }
}

/** Whether a link of a page leads to a file and, where it has one, to a heading in it. */
async function leads(from: string, target: string): Promise<boolean> {
  const [file = '', anchor] = target.split('#')
  const to = file === '' ? from : path.resolve(path.dirname(from), file)
  try {
    if (anchor === undefined) return (await stat(to)).isFile()
    const text = await readFile(to, 'utf8')
    return [...text.matchAll(/^#+ (.+)$/gm)].some(([, heading]) => slugOf(heading!) === anchor)
  } catch {
    return false // no such file
  }
}

/** As GitHub makes anchors of headings. */
function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-')
}

/** A folder with these files, by their paths. */
export async function folderWith(t: Teardown, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'livemessages-guide-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
    await writeFile(path.join(folder, name), text)
  }
  return folder
}

/** The config that a block exports, with the addresses of a test in place of the page's. */
export async function configOf(
  t: Teardown,
  text: string,
  replace: Readonly<Record<string, string>> = {},
): Promise<TestConfig> {
  const source = Object.entries(replace).reduce((before, [from, to]) => {
    if (!before.includes(from)) throw new Error(`the config has no '${from}'`)
    return before.replaceAll(from, to)
  }, text)
  const root = await folderWith(t, { 'livemessages.config.ts': source })
  const loaded = await createModuleLoader({ root, cache: false }).import('./livemessages.config.ts', root)
  return loaded['default'] as TestConfig
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
}

/** Runs a program to its end; resolves with what it printed. @throws with what it said where it fails */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const [program, ...args] = command
  const child = spawn(program!, args, { cwd: options.cwd, env: { ...process.env, ...options.env } })
  let out = ''
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stdin.on('error', () => undefined) // it may end without having read it
  child.stdin.end(options.input ?? '')
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  try {
    const status = await within(`the end of ${command.join(' ')}`, ended, 60_000)
    if (status === 0) return out
    throw new Error(`${command.join(' ').slice(0, 200)} ended with ${status}: ${said}${out}`)
  } finally {
    child.kill('SIGKILL')
  }
}

export interface Service {
  readonly port: number
  stop(): Promise<void>
}

/** Starts a server that prints `port <n>` once it listens; it ends with the test. */
export async function serve(
  t: Teardown,
  command: readonly string[],
  options: RunOptions = {},
): Promise<Service> {
  const [program, ...args] = command
  const child = spawn(program!, args, { cwd: options.cwd, env: { ...process.env, ...options.env } })
  let said = ''
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.teardown(stop)
  const listening = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    const look = (chunk: Buffer): void => {
      said += chunk.toString()
      const port = /^port (\d+)$/m.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.once('close', () => reject(new Error(`ended: ${said}`)))
  })
  return { port: await within(`${command.join(' ')} to listen`, listening, 60_000), stop }
}

/** Debian's own, which has Debian's modules. */
export const PYTHON = '/usr/bin/python3'
