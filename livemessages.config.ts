import { defineConfig, secretFile } from 'livemessages'

// What `npm start` runs, and an example of a whole config. Only ACTIONS has to be said: everything else has a
// default. `livemessage check` finds what is wrong here without starting, `livemessage actions` shows what is loaded.
export default defineConfig({
  port: 7777,

  // Subsystems: what clients may call, and who brings them what happens in the database. Each value is a path
  // beside this file, a package (in your project: 'livemessages/actions/chat/say'), or the function itself.
  ACTIONS: {
    chat: {
      // {"type":"call","id":1,"action":"chat.say","data":{"name":"Ann","text":"hello"}}
      say: './actions/chat/say.ts',
    },
    messages: {
      all: './actions/messages/all.ts',
      read: './actions/messages/read.ts',
      delete: './actions/messages/delete.ts',
      'not-read-count': './actions/messages/not-read-count.ts',
      // Not callable. Rows of livemessage_messages.message reach their recipient's channel by themselves; the sender
      // brings those too that don't go through the journal, and takes new ones by AMQP and HTTP. The table comes with
      // the module.
      sender: './actions/messages/sender.ts',
      // What `livemessage forget --user` takes out of that table.
      forget: './actions/messages/forget.ts',
    },
    // What takes a while: made and advanced by your application, `SELECT livemessage.task_progress(7, 40, 'rows')`.
    tasks: {
      all: './actions/tasks/all.ts',
      delete: './actions/tasks/delete.ts',
      // Asks the application to give one up: its next task_progress answers false.
      cancel: './actions/tasks/cancel.ts',
      'progress-count': './actions/tasks/progress-count.ts',
      sender: './actions/tasks/sender.ts',
      forget: './actions/tasks/forget.ts',
    },
    // Pages of the older livemessages call some of these by other names: docs/subsystems.md has them.
  },

  // Who may subscribe to a subsystem's channels, and what is kept of them. What is not said is closed.
  channels: {
    // chat:<room>, for everybody. With a history: whoever comes back gets what was missed, in order.
    chat: { access: 'public', history: { count: 1000, maxAge: '7d' } },
    // messages:<user>, for that user alone.
    messages: { access: 'user', history: { count: 1000, maxAge: '7d' } },
    // tasks:<user>. No history: only how far each task is matters, and a client that reads slowly gets the latest of
    // each in place of all that was between.
    tasks: { access: 'user', delivery: 'transient', conflate: 'id' },
  },

  auth: {
    // Your application signs tokens (JWT) with this secret and gives them to its pages; `sub` is the user. The
    // file is made at the first start. `publicKey` or `jwksUrl` go in its place where somebody else signs.
    jwt: { secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url)) },
  },

  // postgres: { url: 'postgres://user:password@host/database' }
  //   Left out, as here: a PostgreSQL of the daemon's own, its data under .livemessages/. With NODE_ENV=production
  //   that must be asked for (postgres: 'embedded'); false goes without a database.
  //   The environment says it too, and wins: LIVEMESSAGES_POSTGRES_URL.
  //
  // broker: { url: 'amqp://user:password@host' }
  //   Left out: no RabbitMQ, unless LIVEMESSAGES_BROKER_URL names one.
  //
  // origins: ['https://app.example']
  //   Pages of other hosts than the daemon's own that may connect.
  //
  // api: { keys: ['…'] }
  //   For publishing over HTTP from other machines; programs on this one need none.
})
