import { defineConfig } from 'livemessages'

export default defineConfig({
  ACTIONS: { feed: { latest: './latest.ts' } },
  channels: { feed: { access: 'public', history: { count: 100, maxAge: '1d' } } },
})
