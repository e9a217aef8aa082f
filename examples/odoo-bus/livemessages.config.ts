import { defineConfig } from 'livemessages'

export default defineConfig({
  ACTIONS: { odoo: { sender: './bridge.ts#sender', subscribe: './subscribe.ts' } },
  hooks: { start: './bridge.ts#start' },
  // With a history, or every node would read the table for itself.
  channels: { odoo: { history: { count: 1000, maxAge: '1d' } } },
  // Odoo's own database is home; the NOTIFY comes in the one called postgres.
  postgres: { url: 'postgres://livemessages@localhost/odoo', databases: ['postgres'] },
})
