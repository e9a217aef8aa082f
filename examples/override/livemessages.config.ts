import { defineConfig, secretFile } from 'livemessages'

const builtIn = 'livemessages/actions/messages'

export default defineConfig({
  ACTIONS: {
    messages: {
      all: `${builtIn}/all`,
      // This one is ours; the others are as they were.
      read: './read.ts',
      delete: `${builtIn}/delete`,
      'not-read-count': `${builtIn}/not-read-count`,
      sender: `${builtIn}/sender`,
    },
  },
  channels: { messages: { access: 'user', history: { count: 1000, maxAge: '7d' } } },
  auth: { jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) } },
})
