import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import type { Test } from 'tap'
import { z } from 'zod'
import { connect, type TestClient } from '../support/client.ts'
import { freePort, type Installation, project, type RunningDaemon } from '../support/installation.ts'
import { until } from '../support/wait.ts'

/** A client, and the process that it is connected to. */
export interface Placed {
  readonly client: TestClient
  readonly pid: number
}

const STARTED = z.array(z.object({ worker: z.number(), pid: z.number() }))

/** The modules of these tests' projects. */
const MODULES = {
  'pid.js': 'export default () => process.pid',
  'env.js': 'export default () => Object.keys(process.env).filter((name) => name.startsWith("LIVEMESSAGES"))',
}

/** A config of `groupOf`: these keys over what all have. */
export function configOf(more: Readonly<Record<string, unknown>>): string {
  const config = {
    stop: '2s',
    ACTIONS: { chat: { pid: './pid.js', env: './env.js' } },
    channels: { chat: { access: 'public', publish: 'public' } },
    ...more,
  }
  return `export default ${JSON.stringify(config)}\n`
}

/** A project of these tests: its folder. */
export function folderOf(
  t: Test,
  config: string,
  files: Readonly<Record<string, string>> = {},
): Promise<string> {
  return project(t, { ...MODULES, 'livemessages.config.js': config, ...files })
}

/** Starts two workers on a port of their own. */
export async function groupOf(
  t: Test,
  it: Installation,
  more: Readonly<Record<string, unknown>>,
  args: readonly string[] = [],
): Promise<{ readonly daemon: RunningDaemon; readonly cwd: string }> {
  const cwd = await folderOf(t, configOf({ port: await freePort(), ...more }))
  return { cwd, daemon: await it.start(t, ['--workers', '2', ...args], { cwd }) }
}

/** The workers' processes at the start. */
export function workersOf(daemon: RunningDaemon): { readonly worker: number; readonly pid: number }[] {
  return STARTED.parse(daemon.lines.find(({ msg }) => msg === 'listening')?.['workers'])
}

/** One client at each of these processes: the kernel gives them out, so there may be some more. */
export async function onePerWorker(
  t: Test,
  daemon: RunningDaemon,
  pids: readonly number[],
): Promise<Placed[]> {
  const found = new Map<number, Placed>()
  for (let tries = 0; tries < 200 && !pids.every((pid) => found.has(pid)); tries++) {
    const client = await connect(t, daemon)
    const pid = z.number().parse(await client.call('chat.pid'))
    if (found.has(pid)) await client.close()
    else found.set(pid, { client, pid })
  }
  return pids.map((pid) => {
    const placed = found.get(pid)
    if (placed === undefined) throw new Error(`no client reached process ${pid} of ${pids.join()}`)
    return placed
  })
}

/** A request over a connection of its own, which any worker may get; it stays open as no proxy's would. */
export async function ask(
  daemon: { readonly port: number },
  path: string,
  body?: unknown,
): Promise<{ readonly status: number; readonly text: string }> {
  const agent = new Agent({ keepAlive: true })
  try {
    const method = body === undefined ? 'GET' : 'POST'
    const asked = request({ agent, host: '127.0.0.1', port: daemon.port, path, method, timeout: 6000 })
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')))
    if (body === undefined) asked.end()
    else asked.setHeader('Content-Type', 'application/json').end(JSON.stringify(body))
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
    return { status: response.statusCode ?? 0, text }
  } finally {
    agent.destroy()
  }
}

export async function metricsOf(daemon: { readonly port: number }): Promise<string> {
  const { status, text } = await ask(daemon, '/metrics')
  if (status !== 200) throw new Error(`status ${status}: ${text}`)
  return text
}

/** The value of one line of the metrics. */
export function valueOf(text: string, line: string): number {
  const found = text.split('\n').find((one) => one.startsWith(`${line} `))
  if (found === undefined) throw new Error(`no ${line} in:\n${text}`)
  return Number(found.slice(line.length + 1))
}

/** Waits until no such process is there. */
export async function gone(pids: readonly number[]): Promise<void> {
  await until(`the end of ${pids.join()}`, () => !pids.some(isThere))
}

export function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
