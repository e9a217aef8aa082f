import t from 'tap'
import { databaseNames } from '../../src/config/databases.ts'
import { examine, resolveConfig } from '../../src/config/resolve.ts'
import { keepFrozen } from '../../src/reload.ts'

const place = { root: '/srv/app', file: null }
const resolve = (config: object, databases?: string) =>
  resolveConfig(
    { config: { ACTIONS: {}, ...config }, ...(databases === undefined ? {} : { flags: { databases } }) },
    place,
  ).config
const problems = (config: object) =>
  Object.fromEntries(
    examine({ config: { ACTIONS: {}, ...config } }, place).problems.map(({ key, message }) => [key, message]),
  )

t.test('home is the database of the URL, whether -d names it or not', async (t) => {
  const postgres = { url: 'postgres://db/app' }
  t.same(resolve({ postgres }).databases, { home: 'app', further: [] })
  t.same(resolve({ postgres }, 'shop, blog').databases, { home: 'app', further: ['shop', 'blog'] })
  t.same(resolve({ postgres }, 'shop,app').databases, { home: 'app', further: ['shop'] })
})

t.test('of a URL that names none it is the first of -d, for LISTEN too', async (t) => {
  const config = resolve(
    { postgres: { url: 'postgres://me:pw@db', listenUrl: 'postgres://other:5433' } },
    'a,b',
  )
  t.same(config.databases, { home: 'a', further: ['b'] })
  t.match(config.postgres, { url: 'postgres://me:pw@db/a', listenUrl: 'postgres://other:5433/a' })
  t.equal(resolve({ postgres: { url: 'postgres://me@db' } }).databases.home, 'me', 'as pg takes it')
})

t.test('the embedded server has further ones, too; without a database there is none', async (t) => {
  t.same(resolve({}, 'shop').databases, { home: 'livemessages', further: ['shop'] })
  t.same(databaseNames(null), { home: null, further: [] })
})

t.test('bad names, and perDatabase where it can not be', async (t) => {
  t.match(problems({ postgres: { databases: ['a\n', 'x'.repeat(64)] } }), {
    'postgres.databases': /names of databases, each of 1 to 63 bytes/,
  })
  const channels = { messages: { access: 'user', perDatabase: true } }
  t.match(problems({ postgres: false, channels }), {
    'channels.messages.perDatabase': 'needs a database, got postgres: false',
  })
  t.match(problems({ postgres: { url: 'postgres://db/a', databases: ['b:c'] }, channels }), {
    'channels.messages.perDatabase': /names a channel can hold .*'b:c'/,
  })
  t.same(problems({ postgres: { url: 'postgres://db/a', databases: ['b:c'] } }), {}, 'elsewhere it may')
})

t.test('a reload changes no databases, and policies are of those that there are', async (t) => {
  const channels = { messages: { access: 'user', perDatabase: true } }
  const before = resolve({ postgres: { url: 'postgres://db/a', databases: ['b'] }, channels })
  const wanted = resolve({ postgres: { url: 'postgres://db/a', databases: ['c'] }, channels })
  const { kept, changed } = keepFrozen(before, wanted)
  t.same(changed, ['postgres'])
  t.same(kept.databases, { home: 'a', further: ['b'] })
  t.same(kept.channels.get('messages')?.databases, { home: 'a', further: ['b'] })
})
