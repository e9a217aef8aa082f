import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { Daemon } from '../../src/daemon.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'

// `start` and `stop` of the Daemon itself; signals are in test/daemon/signals.test.ts.

async function create(input: TestConfig = {}): Promise<Daemon> {
  const whole = { ACTIONS: {}, port: 0, postgres: false, ...input }
  const { config } = resolveConfig({ config: whole }, { root: process.cwd(), file: null })
  const registry = await loadRegistry(config, createModuleLoader({ root: config.root }))
  return new Daemon({ config, registry, log: createLogger({ level: 'silent' }) })
}

t.test('start twice is one start; stop twice is one stop', async (t) => {
  const daemon = await create()
  const [one, two] = await Promise.all([daemon.start(), daemon.start()])
  t.equal(one, two)
  await Promise.all([daemon.stop(), daemon.stop('restart')])
  await daemon.stop()
  await t.rejects(fetch(`http://127.0.0.1:${'port' in one.address ? one.address.port : 0}/healthz`))
})

t.test('stop without a start is nothing, and no start comes after it', async (t) => {
  const daemon = await create()
  await daemon.stop()
  await t.rejects(daemon.start(), { code: 'STOPPED' })
})

t.test('stop while starting, at any moment: the start rejects, and nothing is left', async (t) => {
  for (const ms of [0, 1, 3, 8, 20, 50]) {
    // A port of nobody, so that the start waits for its first attempts.
    const daemon = await create({
      postgres: { url: 'postgres://127.0.0.1:1/none' },
      broker: { url: 'amqp://127.0.0.1:1' },
    })
    const started = daemon.start().then(
      () => 'started',
      (error: { code?: string }) => error.code,
    )
    await delay(ms)
    await daemon.stop()
    t.match(await started, /STOPPED|started/)
    t.match(daemon.hub?.size ?? 0, 0)
  }
})

t.test('a start that fails leaves nothing, and may be stopped', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const taken = await create({ port, postgres: { url: 'postgres://127.0.0.1:1/none' } })
  await t.rejects(taken.start(), { code: 'PORT_TAKEN' })
  await taken.stop()
  const thrower = await create({ hooks: { start: () => Promise.reject(new Error('no')) } })
  await t.rejects(thrower.start(), /hooks\.start failed/)
  await thrower.stop()
})

t.test('the order of a stop: no new clients, sources, running actions, good-bye', async (t) => {
  const order: string[] = []
  let end = (_value: string): void => undefined
  const running = new Promise<string>((resolve) => (end = resolve))
  const daemon = await startDaemon(t, {
    ACTIONS: { chat: { wait: () => running.finally(() => order.push('the action ended')) } },
    channels: { chat: { access: 'public' } },
    hooks: {
      disconnect: (_connection: unknown, { code }: { code: number }) => void order.push(`left with ${code}`),
    },
  })
  const client = await connect(t, daemon)
  const called = client.call('chat.wait')
  await until('the call', () => daemon.daemon.counts.calls === 1)
  const stopped = daemon.stop('restart').then(() => order.push('stopped'))
  await until('draining', () => daemon.daemon.health?.phase === 'draining')
  await t.rejects(connect(t, daemon), 'nobody comes any more')
  t.strictSame(client.rest('reconnect'), [], 'nobody is sent away while an action runs')
  end('done')
  t.equal(await called, 'done')
  t.match(await client.next({ type: 'reconnect' }), { reason: 'restart' })
  await stopped
  t.strictSame(order, ['the action ended', 'left with 1012', 'stopped'])
})
