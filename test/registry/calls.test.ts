import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { z } from 'zod'
import { ClientError } from '../../src/protocol/codes.ts'
import type { ActionContext, BaseContext, HookContext } from '../../src/registry/define.ts'
import { connect } from '../support/client.ts'
import { startDaemon, type TestConfig } from '../support/daemon.ts'
import { until } from '../support/wait.ts'

// Actions that call others, events to everybody, and who is there.

const kept = { when: new Date(0) }

const CONFIG: TestConfig = {
  ACTIONS: {
    inner: {
      who: (data: unknown, { user, session, connection }: ActionContext) => ({
        data,
        user,
        session,
        same: connection !== null,
      }),
      checked: { input: z.object({ id: z.coerce.number() }), handle: ({ id }: { id: number }) => id },
      value: () => kept,
      refuse: () => {
        throw new ClientError('conflict', 'not twice', { n: 1 })
      },
      fail: () => {
        throw new Error('secret')
      },
      slow: {
        timeout: '1m',
        handle: (_: unknown, { signal }: ActionContext) => sleep(60_000, null, { signal }),
      },
      private: { access: 'authenticated', handle: (_: unknown, { user }: ActionContext) => user },
    },
    outer: {
      call: ([name, data]: [string, unknown], { call }: ActionContext) => call(name, data),
      as: (_: unknown, { call }: ActionContext) => call('inner.private', null, { as: 'eve' }),
      value: async (_: unknown, { call }: ActionContext) => (await call<object>('inner.value')) === kept,
      deep: async (n: number, { call }: ActionContext): Promise<number> =>
        n === 0 ? 0 : 1 + (await call<number>('outer.deep', n - 1)),
      short: { timeout: 300, handle: (_: unknown, { call }: ActionContext) => call('inner.slow') },
      caught: (_: unknown, { call }: ActionContext) =>
        call('inner.refuse').catch((error: ClientError) => [error.code, error.details]),
      all: (exclude: string | null, { broadcast }: ActionContext) =>
        exclude === null
          ? broadcast('hello', [1])
          : broadcast('hello', [2], { exclude: exclude === 'nobody' ? null : exclude }),
      found: (by: object, { connections }: ActionContext) =>
        connections.filter(by).map(({ session }) => session),
    },
  },
  channels: { inner: { access: 'public' }, outer: { access: 'public' } },
  hooks: { authenticate: ({ token }: { token: string | null }) => (token === null ? null : { id: token }) },
}

t.test('call runs another action for the same client, and resolves with its value', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const client = await connect(t, daemon, { token: 'ada' })
  const { session } = client.welcome as unknown as { session: string }
  t.strictSame(await client.call('outer.call', ['inner.who', { a: 1 }]), {
    data: { a: 1 },
    user: 'ada',
    session,
    same: true,
  })
  t.equal(await client.call('outer.value'), true, 'as it is, not by way of JSON')
  t.equal(await client.call('outer.call', ['inner.checked', { id: '7' }]), 7, 'validated')
  const http = await fetch(`${daemon.url}/call/outer/call`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '["inner.who"]',
  })
  t.match(await http.json(), { data: { data: undefined, user: null, session: null, same: false } })
})

t.test('what the other action refuses is refused: input, access, its own errors, the hook', async (t) => {
  const asked: string[] = []
  const daemon = await startDaemon(t, {
    ...CONFIG,
    hooks: {
      ...CONFIG.hooks,
      call: ({ subsystem, action }: { subsystem: string; action: string }) => {
        asked.push(`${subsystem}.${action}`)
        if (action === 'value') throw new ClientError('forbidden', 'not this one')
      },
    },
  })
  const client = await connect(t, daemon)
  const call = (...args: unknown[]): Promise<unknown> => client.call('outer.call', args)
  await t.rejects(call('inner.checked', { id: 'x' }), { code: 'invalid_input', details: [{ path: ['id'] }] })
  await t.rejects(call('inner.private'), { code: 'unauthenticated' })
  await t.rejects(call('inner.none'), { code: 'unknown_action' })
  await t.rejects(call('inner.refuse'), { code: 'conflict', message: 'not twice', details: { n: 1 } })
  await t.rejects(call('inner.fail'), { code: 'internal', message: 'inner.fail failed' })
  await t.rejects(call('inner.value'), { code: 'forbidden' })
  await t.rejects(call(5), { code: 'internal', message: 'outer.call failed' })
  t.strictSame(await client.call('outer.caught'), ['conflict', { n: 1 }])
  t.ok(asked.includes('inner.checked') && asked.includes('outer.call'))
  const failed = daemon.lines.filter(({ msg }) => msg === 'action failed')
  t.match(failed, [{ action: 'fail' }, { action: 'call' }], 'logged once, by the one that failed')
  t.equal(failed.length, 2)
})

t.test('sixteen deep and no deeper; within the deadline of the first', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const client = await connect(t, daemon)
  t.equal(await client.call('outer.deep', 16), 16)
  await t.rejects(client.call('outer.deep', 17), { code: 'limit_exceeded' })
  await t.rejects(client.call('outer.short'), { code: 'timeout' })
  // Both the outer and the inner one have ended: nothing keeps the slow one for its own minute.
  const inner = await daemon.logged({ msg: 'action timed out', action: 'slow' })
  t.ok(Number(inner['deadlineMs']) <= 300)
})

t.test('who runs for nobody may call as a user; who runs for somebody may not', async (t) => {
  const results: unknown[] = []
  const tried = (work: Promise<unknown>): Promise<void> =>
    work.then(
      (value) => void results.push(value),
      (error: unknown) => void results.push((error as ClientError).code),
    )
  const daemon = await startDaemon(t, {
    ...CONFIG,
    hooks: {
      ...CONFIG.hooks,
      start: async ({ call }: BaseContext) => {
        await tried(call('inner.private'))
        await tried(call('inner.private', null, { as: 'ada' }))
      },
      connect: (_: unknown, { call }: HookContext) => tried(call('inner.who')),
    },
  })
  t.strictSame(results, ['unauthenticated', 'ada'])
  const client = await connect(t, daemon)
  await until('the connect hook', () => results.length === 3)
  t.match(results[2], { session: (client.welcome as unknown as { session: string }).session, same: true })
  await t.rejects(client.call('outer.as'), { code: 'internal' })
  t.match(await daemon.logged({ msg: 'action failed' }), {
    err: { message: /`as` is for what runs for nobody/ },
  })
})

t.test('broadcast: to all but the one it runs for, to all, or to all but another', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const [me, one, two] = await Promise.all([connect(t, daemon), connect(t, daemon), connect(t, daemon)])
  const sessions = [me, one, two].map(({ welcome }) => String(welcome?.['session']))
  const counts = async (): Promise<number[]> => {
    for (const client of [me, one, two]) await client.ask({ type: 'ping' })
    return [me, one, two].map((client) => client.rest('event').length)
  }
  t.match(await me.call('outer.all', null), { count: 2 })
  t.strictSame(await counts(), [0, 1, 1])
  t.match(await me.call('outer.all', 'nobody'), { count: 3 })
  t.strictSame(await counts(), [1, 2, 2])
  t.match(await me.call('outer.all', sessions[1]), { count: 2 })
  t.strictSame(await counts(), [2, 2, 3])
  const http = await fetch(`${daemon.url}/call/outer/all`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: 'null',
  })
  t.match(await http.json(), { data: { count: 3 } }, 'nobody is left out where it runs for no client')
})

t.test('connections: by user, by channel, by both', async (t) => {
  const daemon = await startDaemon(t, CONFIG)
  const ada = await connect(t, daemon, { token: 'ada' })
  const again = await connect(t, daemon, { token: 'ada' })
  const nobody = await connect(t, daemon)
  await again.subscribe('inner:a')
  await nobody.subscribe('inner:a')
  const [first, second, third] = [ada, again, nobody].map(({ welcome }) => welcome?.['session'])
  const found = async (by: object): Promise<Set<unknown>> =>
    new Set((await nobody.call('outer.found', by)) as unknown[])
  t.strictSame(await found({ user: 'ada' }), new Set([first, second]))
  t.strictSame(await found({ channel: 'inner:a' }), new Set([second, third]))
  t.strictSame(await found({ user: 'ada', channel: 'inner:a' }), new Set([second]))
  t.strictSame(await found({ user: null }), new Set([third]))
  t.strictSame(await found({ transport: 'sse' }), new Set())
  t.equal((await found({})).size, 3)
})
