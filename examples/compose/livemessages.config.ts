import { defineConfig, secretFile } from 'livemessages'

const builtIn = 'livemessages/actions/messages'

export default defineConfig({
  ACTIONS: {
    inbox: { open: './open.ts' },
    messages: {
      all: `${builtIn}/all`,
      read: `${builtIn}/read`,
      delete: `${builtIn}/delete`,
      'not-read-count': `${builtIn}/not-read-count`,
      sender: `${builtIn}/sender`,
    },
  },
  channels: { messages: { access: 'user', history: { count: 1000, maxAge: '7d' } } },
  auth: { jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) } },
})
