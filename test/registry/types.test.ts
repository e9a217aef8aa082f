import * as v from 'valibot'
import t from 'tap'
import { z } from 'zod'
import { defineConfig } from '../../src/config/define.ts'
import { type ActionContext, defineAction, defineSender } from '../../src/registry/define.ts'
import { nameOf, readAction, readMigrations, readSender } from '../../src/registry/shape.ts'

// What this file proves, the compiler proves: `npm run check:types` fails when an input loses its type.
type Same<A, B> = [A, B] extends [B, A] ? true : never

t.test("handle's input has the type that the validator gives", async (t) => {
  const zod = defineAction({
    input: z.object({ id: z.coerce.number() }),
    handle(input, context) {
      const same: Same<typeof input, { id: number }> = true
      const user: Same<typeof context.user, string | null> = true
      return same && user && input.id
    },
  })
  const valibot = defineAction({
    input: v.object({ id: v.pipe(v.string(), v.transform(Number)), tag: v.optional(v.string(), 'none') }),
    handle(input) {
      const same: Same<typeof input, { id: number; tag: string }> = true
      return same
    },
  })
  const bare = defineAction({
    handle(input) {
      const same: Same<typeof input, unknown> = true
      return same
    },
  })
  for (const action of [zod, valibot, bare]) t.match(readAction(action), { handle: Function })

  // @ts-expect-error the validator's type has no such field
  defineAction({ input: z.object({ id: z.number() }), handle: (input) => input.name })
  // @ts-expect-error no such access
  defineAction({ access: 'everybody', handle: () => 1 })
  // @ts-expect-error a validator, not a type's name
  defineAction({ input: 'string', handle: () => 1 })
  // @ts-expect-error a channel, not a number
  defineSender({ route: () => 5 })
})

t.test('defineConfig takes actions of any input, knows its keys, and functions too', async (t) => {
  const say = defineAction({ input: z.object({ text: z.string() }), handle: ({ text }) => text })
  const config = defineConfig({ ACTIONS: { chat: { say, inline: () => 1, path: './x.ts' } }, ping: '5s' })
  t.equal(config.ACTIONS['chat']?.['say'], say)
  t.type(
    defineConfig(async () => ({ ACTIONS: {} })),
    'function',
  )
  // @ts-expect-error no such key
  defineConfig({ ACTIONS: {}, chanels: {} })
  // @ts-expect-error no such access
  defineConfig({ ACTIONS: {}, channels: { chat: { access: 'everyone' } } })
  // @ts-expect-error ACTIONS is the one key without a default
  defineConfig({ port: 1 })
})

t.test('an action is built on another one: its input, its migrations and what it is stay', async (t) => {
  const read = defineAction({
    access: 'authenticated',
    migrations: { component: 'mail', migrations: [{ version: 1, name: 'first', sql: 'SELECT 1' }] },
    input: z.object({ id: z.number() }),
    async handle({ id }) {
      return { success: id > 0 }
    },
  })
  const audited = defineAction({
    ...read,
    async handle(input, context) {
      const same: Same<typeof input, { id: number }> = true
      const done = await read.handle(input, context)
      const result: Same<typeof done, { success: boolean }> = true
      return { ...done, audited: same && result }
    },
  })
  t.match(readAction(audited), { access: 'authenticated', input: read.input })
  t.strictSame(readMigrations(audited), read.migrations)
  t.equal(
    nameOf(audited),
    'an action (defineAction)',
    'a copy by ... has lost the brand, defineAction gives it again',
  )
  t.match(readAction({ ...read }), { input: read.input }, 'and is an action without it')
  const context = {} as ActionContext
  t.strictSame(await audited.handle({ id: 1 }, context), { success: true, audited: true })
  // @ts-expect-error the input is the other one's
  void (() => audited.handle({ id: 'x' }, context))

  const sender = defineSender({ notify: 'mail', route: () => 'mail:a' })
  const filtered = defineSender({
    ...sender,
    route: (notification, inner) => (notification.data === null ? null : sender.route(notification, inner)),
  })
  t.match(readSender(filtered, 'q'), { notify: ['mail'] })
})

t.test('a built-in action is imported and built on by the name of the package', async (t) => {
  const { default: read } = await import('livemessages/actions/messages/read')
  const logged = defineAction({
    ...read,
    async handle(input, context) {
      const { success } = await read.handle(input, context)
      return { success, by: context.user }
    },
  })
  t.match(readMigrations(logged), { component: String })
})

t.test('the context has what an action needs, with its types', async (t) => {
  const action = defineAction({
    async handle(_, { call, broadcast, bag, db, connections }) {
      const unread = await call<{ count: number }>('messages.not-read-count')
      const { count } = await broadcast('hello', [unread.count], { exclude: null })
      bag.set('count', count)
      await db.transaction(async (tx) => {
        await tx.query('SELECT 1')
        await tx.publish('chat:a', { count }, { key: 'k' })
        await tx.transaction(async (inner) => inner.publish('chat:a', 1))
      })
      // @ts-expect-error only a transaction publishes
      void (() => db.publish('chat:a', 1))
      return connections.filter({ user: 'ada', channel: 'chat:a' }).length
    },
  })
  t.match(readAction(action), { handle: Function })
})
