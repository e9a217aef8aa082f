import { createServer, type Server } from 'node:net'
import t, { type Test } from 'tap'
import { type Ended, install, project } from '../support/installation.ts'

// What a config, a command line or a machine can have wrong: what is said, and the exit code.

const it = await install(t)

const GOOD = `
export default {
  postgres: false, port: 0,
  ACTIONS: { chat: { say: './say.js' } },
  channels: { chat: { access: 'public' } },
}`
const SAY = 'export default () => 1'

t.test('usage: an unknown option, an unknown command, too few arguments: 2, and where help is', async (t) => {
  for (const args of [
    ['start', '--nope'],
    ['frobnicate'],
    ['publish', 'chat:a'],
    ['start', '7777', 'more'],
  ]) {
    const { code, stderr, stdout } = await it.run(args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, /error: /)
    t.match(stderr, /livemessage --help/)
    t.equal(stdout, '')
  }
})

t.test('help: on standard output, with every command, and for each its options and an example', async (t) => {
  const { code, stdout } = await it.run(['--help'])
  t.equal(code, 0)
  const commands = [
    'start',
    'check',
    'actions',
    'init',
    'publish',
    'listen',
    'token',
    'migrate',
    'psql',
    'forget',
    'disconnect',
  ]
  for (const command of commands) t.match(stdout, new RegExp(`^  ${command} `, 'm'))
  for (const command of commands) {
    const one = await it.run(['help', command])
    t.equal(one.code, 0)
    t.match(one.stdout, `Usage: livemessage ${command}`)
    t.notMatch(one.stdout, /^.{111}/m, 'fits a terminal')
  }
  t.match((await it.run(['start', '--help'])).stdout, /SIGHUP[^]*Examples:/)
  t.match(await it.run(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

t.test('config: none there', async (t) => {
  const cwd = await project(t, {})
  for (const command of ['start', 'migrate', 'psql']) {
    const ended = await it.run([command], { cwd })
    refused(t, ended, 'CONFIG_NOT_FOUND', cwd, /livemessage init/)
  }
  refused(t, await it.run(['start', '-c', 'nope.ts'], { cwd }), 'CONFIG_NOT_FOUND', `${cwd}/nope.ts`)
  refused(t, await it.run(['psql', '-c', 'select 1'], { cwd }), 'USAGE', 'select 1', /after --/)
})

t.test('config: one that throws is told with the place', async (t) => {
  const cwd = await project(t, { 'livemessages.config.js': `\nthrow new TypeError('no luck today')` })
  const ended = await it.run(['start'], { cwd })
  refused(t, ended, 'CONFIG_UNREADABLE', /TypeError: no luck today \(.*livemessages\.config\.js:2\)/)
  t.notMatch(ended.stderr, /^ +at /m, 'no stack')
  const verbose = await it.run(['start', '--verbose'], { cwd })
  t.match(verbose.stderr, /^ +at /m, 'a stack with --verbose')
  t.match(verbose.stderr, /caused by: no luck today/)
})

t.test('config: invalid in three places, and two modules besides: all five at once', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': `
export default {
  port: 99999,
  postgres: false,
  channels: { chat: { acess: 'public' } },
  limits: { frameBytes: 'much' },
  ACTIONS: { chat: { say: './sya.js', shout: './empty.js' } },
}`,
    'say.js': SAY,
    'empty.js': '',
  })
  for (const command of ['start', 'check']) {
    const ended = await it.run([command], { cwd })
    refused(t, ended, 'CONFIG_INVALID', '5 problems', `${cwd}/livemessages.config.js`)
    t.match(ended.stderr, /^ {2}port: expected .*, got 99999$/m)
    t.match(ended.stderr, /^ {2}channels\.chat\.acess: is no key of the config \(did you mean 'access'\?\)$/m)
    t.match(ended.stderr, /^ {2}limits\.frameBytes: expected a size .*, got 'much'$/m)
    t.match(ended.stderr, /^ {2}ACTIONS\.chat\.say: no file '\.\/sya\.js' \(did you mean '\.\/say\.js'\?\)$/m)
    t.match(ended.stderr, /^ {2}ACTIONS\.chat\.shout: .*empty\.js.* exports nothing$/m)
  }
})

t.test('modules: missing, a folder, without exports, throwing on import, of the wrong shape', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': `
export default {
  postgres: false,
  ACTIONS: {
    one: { missing: './actions/mising.js', folder: './actions', empty: './actions/empty.js' },
    two: { throws: './actions/throws.js', shape: './actions/shape.js', helper: './actions/helper.js' },
  },
}`,
    'actions/missing.js': SAY,
    'actions/empty.js': '',
    'actions/throws.js': `import './deep.js'`,
    'actions/deep.js': `\n\nthrow new Error('broken deep down')`,
    'actions/shape.js': 'export default { handel: () => 1 }',
    'actions/helper.js': `import './not-there.js'`,
  })
  const ended = await it.run(['check'], { cwd })
  refused(t, ended, 'ACTION_NOT_FOUND', '7 problems')
  const lines = [
    `ACTIONS.one.missing: no file './actions/mising.js' (did you mean './actions/missing.js'?)`,
    `ACTIONS.one.folder: './actions' is a folder without an index file`,
    `ACTIONS.one.empty: './actions/empty.js' has no export default or 'empty'; it exports nothing`,
    `ACTIONS.two.throws: './actions/throws.js' threw while it was loaded: broken deep down (${cwd}/actions/deep.js:3)`,
    `ACTIONS.two.shape: ${cwd}/actions/shape.js: handel: is no key here (did you mean 'handle'?)`,
    `ACTIONS.two.helper: './actions/helper.js' threw while it was loaded: Cannot find module './not-there.js'`,
  ]
  for (const line of lines) t.match(ended.stderr, `  ${line}`)
})

t.test('check: what only the daemon itself would refuse is told too; fine is said so', async (t) => {
  const cwd = await project(t, { 'livemessages.config.js': GOOD, 'say.js': SAY })
  const fine = await it.run(['check'], { cwd })
  t.match(fine, {
    code: 0,
    stderr: '',
    stdout: `${cwd}/livemessages.config.js is fine: 1 module, subsystems: chat\n`,
  })
  const warned = await it.run(['check'], { cwd, env: { LIVEMESSAGES_PROT: '8000' } })
  t.match(warned, { code: 0, stdout: /warning: .*LIVEMESSAGES_PROT.*did you mean 'LIVEMESSAGES_PORT'/ })
  const bad = await project(t, {
    'livemessages.config.js': GOOD.replace('port: 0', `auth: { jwt: { publicKey: 'nonsense' } }`),
    'say.js': SAY,
  })
  refused(t, await it.run(['check'], { cwd: bad }), 'CONFIG_INVALID', 'auth.jwt')
})

t.test('start: a port that is taken: 3, and what to do', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const cwd = await project(t, { 'livemessages.config.js': GOOD, 'say.js': SAY })
  const { port } = server.address() as Exclude<ReturnType<Server['address']>, string | null>
  for (const engine of ['uws', 'node']) {
    const ended = await it.run(['start', '-p', String(port), '--listener', engine], { cwd })
    t.equal(ended.code, 3)
    t.match(ended.stderr, `PORT_TAKEN: 127.0.0.1:${port} is taken`)
    t.match(ended.stderr, '-p')
  }
})

t.test('start: an address that is not ours: 3; one that is none: 2', async (t) => {
  const cwd = await project(t, { 'livemessages.config.js': GOOD, 'say.js': SAY })
  const foreign = await it.run(['start', '192.0.2.1:0'], { cwd })
  t.equal(foreign.code, 3)
  t.match(foreign.stderr, 'ADDRESS_UNAVAILABLE')
  refused(t, await it.run(['start', 'host:port'], { cwd }), /CONFIG_INVALID|USAGE/, 'host:port')
  refused(t, await it.run(['start', '-p', 'many'], { cwd }), 'CONFIG_INVALID', /port: expected .* from -p/)
  refused(t, await it.run(['start', '0:0', '--dev'], { cwd }), 'CONFIG_INVALID', 'loopback')
})

t.test('start: an embedded database that is impossible: 3', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': GOOD.replace('postgres: false', `postgres: { directory: './data' }`),
    'say.js': SAY,
    'data/server/data': 'a file where the folder of the data should be',
  })
  const ended = await it.run(['start'], { cwd })
  t.equal(ended.code, 3, ended.stderr)
  t.match(
    ended.stderr,
    `DATABASE_FAILED: postgres: the embedded server in ${cwd}/data can't be started: ENOTDIR`,
  )
})

t.test('start: NODE_ENV=production wants the embedded database asked for', async (t) => {
  const cwd = await project(t, {
    'livemessages.config.js': GOOD.replace('postgres: false,', ''),
    'say.js': SAY,
  })
  const ended = await it.run(['start'], { cwd, env: { NODE_ENV: 'production' } })
  refused(t, ended, 'CONFIG_INVALID', 'postgres')
})

/** Refused with 2, with one line for it and these texts. */
function refused(t: Test, ended: Ended, ...texts: readonly (string | RegExp)[]): void {
  t.equal(ended.code, 2, ended.stderr)
  for (const text of texts) t.match(ended.stderr, text)
}
