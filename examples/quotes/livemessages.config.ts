import { defineConfig } from 'livemessages'

export default defineConfig({
  postgres: false,
  ACTIONS: { quotes: {} },
  // Who comes gets the newest price of each symbol at once; who is slow skips to the newest of each.
  channels: { quotes: { access: 'public', conflate: 'symbol' } },
  hooks: { start: './market.ts' },
})
