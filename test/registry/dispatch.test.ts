import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { z } from 'zod'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { noDatabase } from '../../src/database/none.ts'
import { ClientError } from '../../src/protocol/codes.ts'
import type { Services } from '../../src/registry/context.ts'
import type { ActionContext, CallHook, Connections } from '../../src/registry/define.ts'
import { dispatch } from '../../src/registry/dispatch.ts'
import { runHook } from '../../src/registry/hooks.ts'
import type { LoadedAction, Registry } from '../../src/registry/registry.ts'
import type { Log } from '../../src/ops/log.ts'

interface Line {
  readonly level: string
  readonly fields: object
  readonly message: string
}

function setup(): { services: Services; lines: Line[]; stop: AbortController } {
  const lines: Line[] = []
  const at = (level: string) => (fields: object, message: string) => lines.push({ level, fields, message })
  const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  const stop = new AbortController()
  const services: Services = {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is called of it
    log: { ...log, child: () => log } as unknown as Log,
    db: noDatabase(),
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nobody looks at it
    connections: {} as Connections,
    publish: async () => ({ id: null }),
    emit: async () => ({ count: 0, answered: 0, acks: [], missing: [] }),
    presence: async () => ({ clients: [], count: 0 }),
    call: () => Promise.reject(new Error('nothing to call')),
    turns: { ran: () => undefined, wait: () => undefined, done: () => undefined },
    signal: stop.signal,
  }
  return { services, lines, stop }
}

async function run(
  services: Services,
  action: Partial<LoadedAction>,
  { data, hook = null }: { data?: unknown; hook?: CallHook | null } = {},
): Promise<string> {
  const whole: LoadedAction = {
    subsystem: 'chat',
    name: 'say',
    path: '(inline)',
    input: null,
    handle: () => null,
    timeoutMs: 40,
    access: 'public',
    ...action,
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what dispatch looks at
  const registry = { actions: new Map([['chat.say', whole]]), hooks: { call: hook } } as unknown as Registry
  const rules = { registry, limits: { callMs: 40, replyBytes: 1000 }, accessOf: () => 'public' as const }
  return dispatch({ name: 'chat.say', data, connection: null }, rules, services)
}

/** A validator by hand. */
function schema(validate: (value: unknown) => unknown): StandardSchemaV1 {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- validators in tests answer rubbish too
  return { '~standard': { version: 1, vendor: 'test', validate } } as StandardSchemaV1
}

void t.test('dispatch: what is returned at once is answered at once, as JSON', async (t) => {
  const { services } = setup()
  t.equal(await run(services, { handle: (input) => ({ input }) }, { data: 1 }), '{"input":1}')
  t.equal(await run(services, { handle: async () => undefined }), 'null')
})

void t.test(
  'dispatch: a validator of any kind, sync or async, transforms or refuses with its issues',
  async (t) => {
    const { services } = setup()
    const handle = (input: unknown): unknown => input
    const input = z.object({ text: z.string().trim(), to: z.array(z.object({ id: z.number() })).default([]) })
    t.equal(await run(services, { input, handle }, { data: { text: ' a ' } }), '{"text":"a","to":[]}')
    await t.rejects(run(services, { input, handle }, { data: { text: 'a', to: [{ id: 'x' }] } }), {
      name: 'ClientError',
      code: 'invalid_input',
      details: [{ path: ['to', '0', 'id'], message: String }],
    })
    const late = schema(async (value) =>
      value === 'good' ? { value: 'better' } : { issues: [{ message: 'bad' }] },
    )
    t.equal(await run(services, { input: late, handle }, { data: 'good' }), '"better"')
    await t.rejects(run(services, { input: late, handle }, { data: 'x' }), {
      code: 'invalid_input',
      details: [{ path: [], message: 'bad' }],
    })
  },
)

void t.test(
  'dispatch: a validator that throws, rejects, hangs or answers rubbish is the action failing',
  async (t) => {
    const { services } = setup()
    let ran = 0
    const handle = (): unknown => ++ran
    const bad: [StandardSchemaV1, string][] = [
      [
        schema(() => {
          throw new Error('secret')
        }),
        'internal',
      ],
      [schema(() => Promise.reject(new Error('secret'))), 'internal'],
      [schema(() => new Promise(() => undefined)), 'timeout'],
      [schema(() => undefined), 'internal'],
      [schema(() => null), 'internal'],
      [schema(() => ({ issues: [null] })), 'internal'],
    ]
    for (const [input, code] of bad) {
      const error: ClientError = await run(services, { input, handle }).then(
        () => t.fail('taken') as never,
        (error) => error as ClientError,
      )
      t.equal(error.code, code)
      t.notMatch(error.message, /secret/)
    }
    t.equal(ran, 0)
  },
)

void t.test(
  'dispatch: past its deadline a call goes no further: not from its hook, not from its validator',
  async (t) => {
    const { services, lines } = setup()
    let ran = 0
    const handle = (): unknown => ++ran
    await t.rejects(run(services, { handle }, { hook: () => sleep(60) }), { code: 'timeout' })
    const input = schema(async (value) => sleep(60, { value }))
    await t.rejects(run(services, { handle, input }), { code: 'timeout' })
    await sleep(60)
    t.equal(ran, 0)
    t.same(
      lines.map(({ message }) => message),
      ['action timed out', 'action timed out'],
    )
  },
)

void t.test('dispatch: what an action throws after its deadline is logged and reaches nobody', async (t) => {
  const { services, lines } = setup()
  const handle = () => sleep(60).then(() => Promise.reject(new Error('late')))
  await t.rejects(run(services, { handle }), { code: 'timeout' })
  await sleep(40)
  t.match(lines, [
    { message: 'action timed out' },
    { level: 'warn', message: 'action failed after its deadline' },
  ])
})

void t.test('dispatch: promises of other libraries are waited for', async (t) => {
  const { services } = setup()
  // oxlint-disable-next-line unicorn/no-thenable -- a query builder is one
  const thenable = { then: (resolve: (value: unknown) => void) => void setTimeout(resolve, 1, 'late') }
  t.equal(await run(services, { handle: () => thenable }), '"late"')
  // oxlint-disable-next-line unicorn/no-thenable
  t.equal(await run(services, { handle: () => ({ then: 'no function' }) }), '{"then":"no function"}')
  // oxlint-disable-next-line unicorn/no-thenable
  const never = { then: () => undefined }
  await t.rejects(run(services, { handle: () => never }), { code: 'timeout' })
})

void t.test(
  'dispatch: a signal is aborted by the deadline and by the stop, is one and the same, and leaves nothing behind',
  async (t) => {
    const { services, stop } = setup()
    const signals: AbortSignal[] = []
    const take = (context: ActionContext): boolean => {
      signals.push(context.signal)
      return context.signal === signals.at(-1)
    }
    for (let count = 0; count < 50; count++) {
      await run(services, { handle: (_input, context) => take(context) })
      await run(services, { handle: async (_input, context) => take(context) })
      await run(services, {
        handle: async (_input, context) => Promise.reject(new ClientError('conflict', String(take(context)))),
      }).catch(() => undefined)
    }
    await run(services, { handle: (_input, context) => new Promise(() => take(context)) }).catch(
      () => undefined,
    )
    t.equal(signals.at(-1)!.aborted, true)
    t.match(signals.at(-1)!.reason, { code: 'timeout' })
    t.equal(getEventListeners(stop.signal, 'abort').length, 0)
    const running = run(services, {
      timeoutMs: 10_000,
      handle: (_input, context) =>
        new Promise((resolve) => {
          take(context)
          context.signal.addEventListener('abort', () => resolve('stopped'))
        }),
    })
    stop.abort(new Error('stopping'))
    t.equal(await running, '"stopped"')
    t.equal(await run(services, { handle: (_input, context) => context.signal.aborted }), 'true')
  },
)

void t.test(
  'hooks: what is thrown as ClientError goes on, everything else is internal; too long is timeout',
  async (t) => {
    const { services, lines, stop } = setup()
    const call = { place: 'chat.subscribe', connection: null, deadlineMs: 20 }
    const hook = async (behaviour: () => unknown): Promise<unknown> => runHook(call, services, behaviour)
    t.equal(await hook(() => 1), 1)
    t.equal(await hook(async () => 2), 2)
    await t.rejects(
      hook(() => {
        throw new ClientError('forbidden', 'no')
      }),
      { code: 'forbidden', message: 'no' },
    )
    await t.rejects(
      hook(() => {
        throw new Error('secret')
      }),
      { code: 'internal', message: 'chat.subscribe failed' },
    )
    await t.rejects(
      hook(() => Promise.reject(undefined as unknown as Error)),
      { code: 'internal' },
    )
    await t.rejects(
      hook(() => new Promise(() => undefined)),
      { code: 'timeout' },
    )
    await t.rejects(
      hook(() => sleep(40).then(() => Promise.reject(new Error('late')))),
      { code: 'timeout' },
    )
    await sleep(40)
    t.ok(lines.some(({ message }) => message === 'hook failed after its deadline'))
    t.equal(getEventListeners(stop.signal, 'abort').length, 0)
  },
)
