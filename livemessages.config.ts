import { defineConfig, secretFile } from 'livemessages'

export default defineConfig({
  ACTIONS: {
    chat: {
      say: './actions/chat/say.ts',
    },
  },
  channels: {
    chat: { access: 'public', publish: 'public', history: { count: 1000, maxAge: '7d' } },
  },
  auth: {
    jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) },
  },
})
