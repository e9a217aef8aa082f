/** What `livemessage init` writes, by path. */
export const TEMPLATES: Readonly<Record<string, string>> = {
  'livemessages.config.ts': `import { defineConfig, secretFile } from 'livemessages'

export default defineConfig({
  ACTIONS: {
    chat: {
      say: 'livemessages/actions/chat/say',
    },
    hello: {
      greet: './actions/hello/greet.ts',
    },
  },
  channels: {
    chat: { access: 'public', history: { count: 1000, maxAge: '7d' } },
    hello: { access: 'public' },
  },
  auth: {
    jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) },
  },
  // postgres: { url: 'postgres://…' },   left out: an embedded server, its data under .livemessages/
  // broker: { url: 'amqp://…' },         left out: none
})
`,
  'actions/hello/greet.ts': `import { defineAction } from 'livemessages'

/** Called by a page with {"type":"call","id":1,"action":"hello.greet","data":{"name":"Ann"}}. */
export default defineAction({
  access: 'public',
  async handle(input, { publish }) {
    const name = String((input as { name?: unknown } | null)?.name ?? 'you')
    const text = \`hello, \${name}\`
    await publish('hello:everyone', { text })
    return { text }
  },
})
`,
  '.gitignore': `node_modules/
.livemessages/
`,
}
