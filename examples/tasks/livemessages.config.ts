import { defineConfig, secretFile } from 'livemessages'

const builtIn = 'livemessages/actions/tasks'

export default defineConfig({
  ACTIONS: {
    tasks: {
      all: `${builtIn}/all`,
      cancel: `${builtIn}/cancel`,
      delete: `${builtIn}/delete`,
      'progress-count': `${builtIn}/progress-count`,
      sender: `${builtIn}/sender`,
    },
  },
  // Of a task that advances faster than a client reads, the client gets the newest.
  channels: { tasks: { access: 'user', conflate: 'id' } },
  auth: { jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) } },
})
