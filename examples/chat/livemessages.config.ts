import { defineConfig } from 'livemessages'

export default defineConfig({
  ACTIONS: {
    chat: { join: './join.ts', rename: './rename.ts', say: './say.ts', leave: './leave.ts' },
  },
  // The journal keeps the last 50 of each room: { type: 'subscribe', channel: 'chat:general', last: 50 }
  channels: { chat: { access: 'public', history: { count: 50, maxAge: '7d' }, presence: true } },
  // Who closes the page has left, too.
  hooks: { disconnect: './leave.ts#disconnect' },
})
