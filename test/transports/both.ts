import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createModuleLoader } from '../../src/config/modules.ts'
import { resolveConfig } from '../../src/config/resolve.ts'
import { openHome } from '../../src/database/home.ts'
import { Counts } from '../../src/ops/counts.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { buildRules, type Live } from '../../src/rules.ts'
import { wire, type Wired } from '../../src/wire.ts'
import { startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'

export type Kind = 'uws' | 'node'

/** Starts a daemon on the listener that the test runs on. */
export type Start = (config?: TestConfig) => Promise<TestDaemon>

/** One test on each listener. */
export function onBoth(name: string, run: (t: Test, start: Start, kind: Kind) => Promise<void>): void {
  for (const kind of ['uws', 'node'] as const) {
    void t.test(`${kind}: ${name}`, (t) =>
      run(t, (config) => startDaemon(t, { listener: kind, ...config }), kind),
    )
  }
}

export const SECRET = 'a secret that only the tests know'

/** A token of this user; `expires` in seconds from now. */
export function token(user: string, expires = 3600, claims: Record<string, unknown> = {}): Promise<string> {
  const at = Math.floor(Date.now() / 1000) + expires
  return new SignJWT({ sub: user, exp: at, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET))
}

/** The position of a cursor. */
export function positionOf(cursor: unknown): number {
  return Number(String(cursor).split('-')[1])
}

/** A config with a public journaled subsystem `chat` and a public transient one, `live`. */
export const CHANNELS: TestConfig = {
  ACTIONS: { chat: {}, live: {} },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 100_000, maxAge: '1d' } },
    live: { access: 'public', publish: 'public' },
  },
}

/** The parts of a node, listening: for tests that look at what a daemon shows to nobody. */
export async function startParts(
  t: Test,
  input: TestConfig,
): Promise<Wired & { ws: string; port: number; live: Live }> {
  const root = process.cwd()
  const log = createLogger({ level: 'debug', destination: { write: () => undefined } })
  const whole = { ACTIONS: {}, host: '127.0.0.1', port: 0, postgres: false as const, ...input }
  const { config } = resolveConfig({ config: whole }, { root, file: null })
  const registry = await loadRegistry(config, createModuleLoader({ root }))
  const rules = buildRules(config, registry, log)
  const home = await openHome(null, [], log)
  const stop = new AbortController()
  const counts = new Counts()
  const live = { rules }
  const parts = await wire({ live, home, log, counts, signal: stop.signal, group: undefined })
  await parts.join()
  const address = await parts.listen()
  t.teardown(async () => {
    parts.hub.stop()
    parts.deadlines.stop()
    await parts.listener.close()
    await parts.leave()
  })
  const port = 'port' in address ? address.port : 0
  await Promise.all(parts.sources.all.map((source) => source.start({} as never)))
  return { ...parts, ws: `ws://127.0.0.1:${port}/ws`, port, live }
}
