import { request } from 'node:http'
import t, { type Test } from 'tap'
import { connect } from '../support/client.ts'
import { install, project, type RunningDaemon } from '../support/installation.ts'
import { nextEvent, until } from '../support/wait.ts'

// The process: what signals do to it, and what modules that misbehave don't.

const it = await install(t)

const FILES = {
  'livemessages.config.js': `
export default {
  postgres: false, port: 0, stop: '1s',
  ACTIONS: { chat: { slow: './slow.js', hang: './hang.js', stray: './stray.js' } },
  channels: { chat: { access: 'public' } },
  limits: { callMs: '60s' },
}`,
  'slow.js': `export default async (ms) => { await new Promise((go) => setTimeout(go, ms)); return 'done' }`,
  'hang.js': `export default { handle: (_, { signal, log }) => new Promise(() => {
    signal.addEventListener('abort', () => log.info({ reason: signal.reason.code }, 'told to end'))
  }) }`,
  'stray.js': `export default (how) => {
    if (how === 'rejection') void Promise.reject(new Error('nobody caught me'))
    else setTimeout(() => { throw new Error('thrown by a timer') }, 0)
    return how
  }`,
}

async function daemonOf(t: Test, files: Readonly<Record<string, string>> = FILES): Promise<RunningDaemon> {
  return it.start(t, [], { cwd: await project(t, files) })
}

t.test(
  'SIGTERM: a running action ends, clients are told to come back, then 1012 and exit code 0',
  async (t) => {
    const daemon = await daemonOf(t)
    const [one, two] = await Promise.all([connect(t, daemon), connect(t, daemon)])
    one.send({ type: 'call', id: 1, action: 'chat.slow', data: 400 })
    await calls(daemon, 1)
    daemon.kill('SIGTERM')
    t.match(await one.next({ type: 'reply' }), { id: 1, data: 'done' })
    for (const client of [one, two]) {
      const { after, reason } = await client.next({ type: 'reconnect' })
      t.type(after, 'number')
      t.equal(reason, 'restart')
      t.match(await client.closed, { code: 1012 })
    }
    t.match(await daemon.ended, { code: 0, signal: null, stderr: '' })
    t.match(daemon.lines.at(-1), { msg: 'stopped' })
  },
)

t.test('SIGINT: the same with 1001', async (t) => {
  const daemon = await daemonOf(t)
  const client = await connect(t, daemon)
  daemon.kill('SIGINT')
  t.match(await client.next({ type: 'reconnect' }), { reason: 'shutdown' })
  t.match(await client.closed, { code: 1001 })
  t.match(await daemon.ended, { code: 0 })
})

t.test('an action that hangs holds the stop up for no longer than `stop`, and is told', async (t) => {
  const daemon = await daemonOf(t)
  const client = await connect(t, daemon)
  client.send({ type: 'call', id: 1, action: 'chat.hang' })
  await calls(daemon, 1)
  const began = Date.now()
  daemon.kill('SIGTERM')
  t.match(await client.closed, { code: 1012 })
  t.match(await daemon.ended, { code: 0 })
  const took = Date.now() - began
  t.ok(took >= 900 && took < 4000, `${took} ms`)
  t.ok(daemon.lines.some(({ msg, reason }) => msg === 'told to end' && reason === 'STOPPED'))
})

t.test('a second signal ends it at once', async (t) => {
  const daemon = await daemonOf(t, {
    ...FILES,
    'livemessages.config.js': FILES['livemessages.config.js'].replace('1s', '60s'),
  })
  const client = await connect(t, daemon)
  client.send({ type: 'call', id: 1, action: 'chat.hang' })
  await calls(daemon, 1)
  daemon.kill('SIGTERM')
  await daemon.logged({ msg: 'stopping' })
  daemon.kill('SIGTERM')
  t.match(await daemon.ended, { code: 143 })
})

t.test('while it drains: no new clients, /readyz says so, a publication under way is answered', async (t) => {
  const daemon = await daemonOf(t)
  const client = await connect(t, daemon)
  client.send({ type: 'call', id: 1, action: 'chat.slow', data: 700 })
  // Its body is on the way when the signal comes.
  const asked = request(`${daemon.url}/publish?channel=chat:a`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Length': 7 },
  })
  asked.write('{"n":')
  await calls(daemon, 1)
  daemon.kill('SIGTERM')
  await daemon.logged({ msg: 'stopping' })
  await t.rejects(connect(t, daemon), 'a new client')
  asked.end('1}')
  const [response] = (await nextEvent(asked, 'response')) as [{ statusCode: number }]
  t.equal(response.statusCode, 200)
  t.match(await client.next({ type: 'reply' }), { data: 'done' })
  t.match(await daemon.ended, { code: 0 })
})

t.test('SIGTERM while it starts: it ends with 0 and has not listened', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': `
export default { postgres: false, port: 0, ACTIONS: {}, hooks: { start: './start.js' } }`,
    'start.js': `export default async ({ log }) => { log.info('begun'); await new Promise(() => setInterval(() => {}, 1000)) }`,
  })
  const child = it.spawn(t, ['start'], { cwd })
  await child.said('"begun"')
  child.process.kill('SIGTERM')
  const { code, stdout } = await child.ended
  t.equal(code, 0)
  t.notMatch(stdout, '"listening"')
  t.match(stdout, '"stopped"')
})

t.test(
  'a rejection that nobody handles, and a timer that throws: logged, counted, and the daemon goes on',
  async (t) => {
    const daemon = await daemonOf(t)
    const client = await connect(t, daemon)
    t.equal(await client.call('chat.stray', 'rejection'), 'rejection')
    t.match(await daemon.logged({ level: 'error', kind: 'rejection' }), {
      err: { message: 'nobody caught me' },
    })
    t.equal(await client.call('chat.stray', 'timer'), 'timer')
    t.match(await daemon.logged({ level: 'error', kind: 'exception' }), {
      err: { message: 'thrown by a timer' },
    })
    t.match(await metrics(daemon), /livemessages_errors_total\{code="process\.rejection"\} 1/)
    t.equal(await client.call('chat.slow', 1), 'done')
  },
)

t.test('whoever reads the log may go away: the daemon does not', async (t) => {
  const daemon = await daemonOf(t)
  const client = await connect(t, daemon)
  daemon.process.stdout?.destroy()
  for (let n = 0; n < 3; n++) await client.call('chat.stray', 'rejection')
  t.equal(await client.call('chat.slow', 1), 'done')
  daemon.kill('SIGTERM')
  t.match(await daemon.ended, { code: 0, stderr: '' })
})

/** Waits until so many calls have come. */
async function calls(daemon: RunningDaemon, count: number): Promise<void> {
  const come = async () => (await metrics(daemon)).includes(`livemessages_calls_total ${count}\n`)
  await until('the call', come)
}

async function metrics({ url }: { readonly url: string }): Promise<string> {
  return (await fetch(`${url}/metrics`)).text()
}
