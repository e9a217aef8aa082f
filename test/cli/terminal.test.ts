import t from 'tap'
import { install, installed, project } from '../support/installation.ts'
import { until } from '../support/wait.ts'

// On a terminal: util-linux's `script` is one.

const it = await install(t)
const cwd = await project(t, {
  'livemessages.config.js': `
export default {
  postgres: false, port: 0,
  ACTIONS: { chat: { say: './say.js', subscribe: './say.js' } },
  channels: { chat: { access: 'public', history: {} }, news: { access: 'authenticated' } },
}`,
  'say.js': 'export default () => true',
})

t.test('a terminal gets a banner and lines for people', async (t) => {
  const command = `${process.execPath} ${it.folder}/bin/livemessage.js start --dev`
  const child = installed('/dev/null').spawn(t, [], {
    cwd,
    through: ['script', '-qefc', command],
    env: { NO_COLOR: '1' },
  })
  await child.said('Ctrl-C stops it.')
  const lines = child.stdout.split(/\r?\n/)
  for (const line of [
    /^ {2}livemessages \d+\.\d+\.\d+$/,
    /^ {2}listening on +http:\/\/127\.0\.0\.1:\d+$/,
    /^ {2}clients +ws:\/\/127\.0\.0\.1:\d+\/ws$/,
    /^ {2}demo page +http:\/\/127\.0\.0\.1:\d+\/$/,
    /^ {2}parts +● journal memory {3}● http$/,
    /^ {2}subsystems +chat +journaled, access: public {3}say \[subscribe\]$/,
    /^ +news +transient, access: authenticated$/,
  ]) {
    t.ok(
      lines.some((text) => line.test(text)),
      String(line),
    )
  }
  t.notMatch(child.stdout, /^\{/m, 'no JSON')
  const url = /http:\/\/[\d.:]+/.exec(child.stdout)?.[0] ?? ''
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  // The terminal is closed, as by the window's cross: nobody could end the daemon any more.
  child.process.kill('SIGKILL')
  await until('the end of the daemon', () =>
    fetch(`${url}/healthz`).then(
      () => false,
      () => true,
    ),
  )
})

t.test('elsewhere it is lines of JSON, from the first to the last', async (t) => {
  const daemon = await it.start(t, [], { cwd })
  daemon.kill('SIGTERM')
  const { stdout, stderr } = await daemon.ended
  t.equal(stderr, '')
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  for (const line of lines) t.match(line, { level: 'info', time: /^\d{4}-\d\d-\d\dT/, msg: String })
  t.match(
    lines.map(({ msg }) => msg),
    ['listening', 'stopping', 'stopped'],
  )
})
