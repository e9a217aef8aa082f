import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { resolveConfig } from '../../src/config/resolve.ts'
import { planProxy, type PlanOptions, type ProxyPlan } from '../../src/proxy/plan.ts'
import { startApache } from './apache.ts'
import { freePort, type TestConfig } from './daemon.ts'
import { startHaproxy } from './haproxy.ts'
import { startNginx } from './nginx.ts'
import { APACHE, HAPROXY, NGINX, skipWithout } from './packages.ts'
import { openFolder } from './postgres.ts'
import { type Teardown, until } from './wait.ts'

const run = promisify(execFile)

/** What a proxy runs as for root: the user `nobody` of every Linux. */
const NOBODY = 65_534

export type ProxyKind = 'haproxy' | 'nginx' | 'apache'

/** A proxy with our config, an ordinary process; it ends with the test. */
export interface Proxy {
  readonly kind: ProxyKind
  /** `http://127.0.0.1:<port>`, or with TLS `https://…`. */
  readonly url: string
  readonly ws: string
  /** The port without TLS: `http://127.0.0.1:<port>`. */
  readonly plain: string
  readonly port: number
  /** What it wrote: its log, and what it complains of. */
  readonly said: string
}

/** A proxy's process and the folder that is its own. */
export interface Program {
  readonly file: string
  readonly args: (folder: string) => readonly string[]
  /** By their names in the folder. */
  readonly files: (folder: string) => Readonly<Record<string, string>>
}

const STARTERS: Readonly<Record<ProxyKind, (plan: ProxyPlan) => Program>> = {
  haproxy: startHaproxy,
  nginx: startNginx,
  apache: startApache,
}

export const PROXIES: readonly { readonly kind: ProxyKind; readonly skip: string | false }[] = [
  { kind: 'haproxy', skip: skipWithout(HAPROXY) },
  { kind: 'nginx', skip: skipWithout(NGINX) },
  { kind: 'apache', skip: skipWithout(APACHE) },
]

/** What `livemessage haproxy` makes of a config, which has nothing in it unless it is said. */
export function planFor(options: PlanOptions = {}, input: TestConfig = {}): ProxyPlan {
  const whole = { ACTIONS: {}, postgres: false as const, ...input }
  const { config } = resolveConfig({ config: whole }, { root: '/', file: null })
  return planProxy(config, options)
}

/** Starts one in front of these nodes; with `tls` it has a certificate of its own. */
export async function startProxyOf(
  t: Teardown,
  kind: ProxyKind,
  options: PlanOptions & { readonly tls?: boolean },
  input: TestConfig = {},
): Promise<Proxy> {
  const folder = await openFolder()
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const { tls = false, ...rest } = options
  const certificate = tls ? await makeCertificate(folder) : null
  const [port, tlsPort] = [await freePort(), await freePort()]
  const program = STARTERS[kind](planFor({ ...rest, certificate, port, tlsPort }, input))
  const files = program.files(folder)
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text)
  await mkdir(path.join(folder, 'run'))
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : null
  if (user !== null) await run('chown', ['-R', `${NOBODY}:${NOBODY}`, folder])
  const child = spawn(program.file, [...program.args(folder)], {
    ...user,
    cwd: folder,
    env: { PATH: process.env['PATH'] ?? '', APACHE_LOG_DIR: path.join(folder, 'run') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'exit')
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (process.env['TEST_LOG']) process.stderr.write(text)
    })
  }
  t.teardown(async () => {
    // Masters of nginx and Apache end their workers with them; killed, they would leave them behind.
    child.kill('SIGTERM')
    const patience = setTimeout(() => child.kill('SIGKILL'), 3000)
    await ended
    clearTimeout(patience)
  })
  const open = tls ? tlsPort : port
  await until(kind, () => child.exitCode !== null || answers(port))
  if (child.exitCode !== null) throw new Error(`${kind} does not start: ${said}`)
  return {
    kind,
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${open}`,
    ws: `${tls ? 'wss' : 'ws'}://127.0.0.1:${open}/ws`,
    plain: `http://127.0.0.1:${port}`,
    port: open,
    get said() {
      return said
    },
  }
}

/** A self-signed certificate and its key in one file, as all three take it. */
export async function makeCertificate(folder: string): Promise<string> {
  const file = path.join(folder, 'tls.pem')
  const [key, certificate] = [path.join(folder, 'key.pem'), path.join(folder, 'certificate.pem')]
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
  ]
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  await run('openssl', [...args, ...names, '-keyout', key, '-out', certificate])
  await writeFile(file, (await readFile(certificate, 'utf8')) + (await readFile(key, 'utf8')))
  await chmod(file, 0o600)
  if (process.getuid?.() === 0) await chown(file, NOBODY, NOBODY)
  return file
}

/** Its plain port: of a proxy with TLS it redirects. */
async function answers(port: number): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { redirect: 'manual' })
  await response.body?.cancel()
  return true
}
