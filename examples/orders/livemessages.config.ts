import { defineConfig, secretFile } from 'livemessages'

export default defineConfig({
  ACTIONS: {
    orders: { cancel: './orders.ts', sender: './orders.ts#sender', subscribe: './orders.ts#subscribe' },
  },
  channels: { orders: { access: 'authenticated', history: { count: 100, maxAge: '1d' } } },
  auth: { jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) } },
})
