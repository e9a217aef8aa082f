import * as v from 'valibot'
import t from 'tap'
import { z } from 'zod'
import { defineConfig } from '../../src/config/define.ts'
import { defineAction, defineSender } from '../../src/registry/define.ts'
import { readAction } from '../../src/registry/shape.ts'

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
