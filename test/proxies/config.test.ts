import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { renderApache } from '../../src/proxy/apache.ts'
import { renderHaproxy } from '../../src/proxy/haproxy.ts'
import { renderNginx } from '../../src/proxy/nginx.ts'
import { mainConfig } from '../support/apache.ts'
import { install, project } from '../support/installation.ts'
import { inFolder, nginxArgs } from '../support/nginx.ts'
import { APACHE, find, HAPROXY, NGINX, skipWithout } from '../support/packages.ts'
import { openFolder } from '../support/postgres.ts'
import { makeCertificate, planFor, PROXIES } from '../support/proxy.ts'
import type { Teardown } from '../support/wait.ts'

const run = promisify(execFile)
const SHIPPED = path.resolve(import.meta.dirname, '../../haproxy')
const FILES = { haproxy: 'haproxy.cfg', nginx: 'nginx.conf', apache: 'apache.conf' } as const
const FLAGS = { haproxy: [], nginx: ['--nginx'], apache: ['--apache'] } as const
const RENDER = { haproxy: renderHaproxy, nginx: renderNginx, apache: renderApache } as const
const PROGRAMS = { haproxy: HAPROXY, nginx: NGINX, apache: APACHE } as const

const it = await install(t)

for (const { kind } of PROXIES) {
  t.test(`${FILES[kind]} in haproxy/ is what the command prints for the defaults`, async (t) => {
    const cwd = await project(t, { 'livemessages.config.json': '{"ACTIONS":{},"postgres":false}' })
    const printed = await it.run(['haproxy', ...FLAGS[kind]], { cwd })
    t.match(printed, { code: 0, stderr: '' })
    t.equal(printed.stdout, await readFile(path.join(SHIPPED, FILES[kind]), 'utf8'))
  })

  t.test(
    `${FILES[kind]} passes the check of ${kind} itself`,
    { skip: skipWithout(PROGRAMS[kind]) },
    async (t) => {
      const folder = await openFolder()
      t.teardown(() => rm(folder, { recursive: true, force: true }))
      const certificate = await makeCertificate(folder)
      const plans = [
        (await readFile(path.join(SHIPPED, FILES[kind]), 'utf8')).replaceAll(
          '/etc/ssl/private/livemessages.pem',
          certificate,
        ),
        RENDER[kind](
          planFor({ certificate: null, servers: ['10.0.0.1:7777', '[fd00::1]:7777', 'node-3.example:7777'] }),
        ),
        RENDER[kind](
          planFor({
            certificate,
            servers: ['/run/a.sock', '/run/b.sock'],
            proxyProtocol: kind === 'haproxy',
          }),
        ),
      ]
      for (const text of plans) {
        // Names are looked up at once, and there is none such.
        const known = text.replaceAll('node-3.example', 'localhost')
        t.match(await check[kind](t, folder, known), /valid|successful|Syntax OK/i)
      }
    },
  )
}

const check = {
  haproxy: async (_t: Teardown, folder: string, text: string) => {
    const file = path.join(folder, 'haproxy.cfg')
    await writeFile(file, text)
    const { stdout, stderr } = await run(find(HAPROXY) ?? '', ['-c', '-f', file])
    return stdout + stderr
  },
  nginx: async (_t: Teardown, folder: string, text: string) => {
    await mkdir(path.join(folder, 'run'), { recursive: true })
    await writeFile(path.join(folder, 'nginx.conf'), inFolder(text, folder))
    const { stdout, stderr } = await run(find(NGINX) ?? '', ['-t', ...nginxArgs(folder)])
    return stdout + stderr
  },
  apache: async (_t: Teardown, folder: string, text: string) => {
    await mkdir(path.join(folder, 'run'), { recursive: true })
    await writeFile(path.join(folder, 'site.conf'), text)
    await writeFile(path.join(folder, 'main.conf'), mainConfig(folder, [80, 443]))
    const env = { ...process.env, APACHE_LOG_DIR: path.join(folder, 'run') }
    const { stdout, stderr } = await run(find(APACHE) ?? '', ['-t', '-f', path.join(folder, 'main.conf')], {
      env,
    })
    return stdout + stderr
  },
}

t.test('the present config says where the nodes are and how long they may be silent', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.json': JSON.stringify({
      ACTIONS: {},
      postgres: false,
      host: '0.0.0.0',
      port: 7000,
      ping: '60s',
      limits: { publicationBytes: 1_500_000 },
    }),
  })
  const print = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await it.run(['haproxy', ...args], { cwd })
    t.match({ code, stderr }, { code: 0, stderr: '' })
    return stdout
  }
  const own = await print('--no-tls', '--port', '8080')
  t.match(own, /server n1 127\.0\.0\.1:7000 /)
  t.match(own, /bind :8080\n/)
  t.match(own, "trustedProxies: ['127.0.0.1']")
  t.match(own, /timeout tunnel 1[56]\ds/)
  t.notMatch(own, /ssl crt|redirect/)
  const several = await print('--servers', '10.0.0.1:7777,/run/b.sock')
  t.match(several, /server n1 10\.0\.0\.1:7777 .*\n.*server n2 unix@\/run\/b\.sock /)
  t.match(several, "'the address of this proxy', 'unix'")
  t.match(await print('--proxy-protocol'), /server n1 .* send-proxy-v2/)
  t.match(await print('--nginx'), /client_max_body_size 1500000;/)
})

t.test('what the config opens is open, and what it turns off is not', async (t) => {
  const base = {
    ACTIONS: { chat: {} },
    channels: { chat: { access: 'public', history: {} } },
    postgres: false,
  }
  const more = { calls: { prefix: '/actions' }, predecessors: { subsystem: 'chat' }, socketio: false }
  const cwd = await project(t, { 'livemessages.config.json': JSON.stringify({ ...base, ...more }) })
  for (const flags of [[], ['--nginx'], ['--apache']]) {
    const { stdout } = await it.run(['haproxy', ...flags], { cwd })
    t.match(stdout, /actions\//)
    t.match(stdout, /get_messages/)
    t.notMatch(stdout, /\/call\/|\/publish\/|socket\.io|socketio/i)
  }
})

t.test('the header in which a proxy names the user is deleted from what clients send', async (t) => {
  const config = {
    ACTIONS: {},
    postgres: false,
    trustedProxies: ['127.0.0.1'],
    auth: { header: 'X-Remote-User' },
  }
  const cwd = await project(t, { 'livemessages.config.json': JSON.stringify(config) })
  for (const [flags, line] of [
    [[], /^ +http-request del-header x-remote-user$/m],
    [['--nginx'], /^ +proxy_set_header x-remote-user "";$/m],
    [['--apache'], /^ +RequestHeader unset x-remote-user$/m],
  ] as const) {
    t.match((await it.run(['haproxy', ...flags], { cwd })).stdout, line)
  }
})

t.test('what can not be is told, with the exit code of a wrong usage', async (t) => {
  const cwd = await project(t, { 'livemessages.config.json': '{"ACTIONS":{},"postgres":false}' })
  for (const [args, said] of [
    [['--servers', '10.0.0.1'], /--servers: expected host:port/],
    [['--servers', 'a:1,b:99999'], /got 'b:99999'/],
    [['--servers', 'a:1 check\n    evil'], /--servers/],
    [['--certificate', 'tls.pem'], /--certificate: expected an absolute path/],
    [['--certificate', '/a b'], /--certificate/],
    [['--port', '0'], /Expected a port/],
    [['--nginx', '--apache'], /one of them/],
    [['--apache', '--proxy-protocol'], /HAProxy alone/],
  ] as const) {
    t.match(await it.run(['haproxy', ...args], { cwd }), { code: 2, stdout: '', stderr: said })
  }
})
