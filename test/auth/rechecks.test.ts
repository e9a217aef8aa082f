import t, { type Test } from 'tap'
import { type Rechecked, Rechecks } from '../../src/auth/rechecks.ts'
import { placeUser } from '../../src/auth/databases.ts'
import { Whoami } from '../../src/auth/whoami.ts'
import type { User } from '../../src/registry/define.ts'
import { until } from '../support/wait.ts'
import { type Application, reply, startApplication } from './application.ts'

interface Guest extends Rechecked {
  identity: User | null
  ended: unknown
}

const databases = { home: 'shop', further: ['other'] }

/** Guests by the cookies of these sessions, whom the application is asked about again and again. */
async function seat(
  t: Test,
  application: Application,
  sessions: readonly string[],
  concurrency = 16,
): Promise<readonly Guest[]> {
  const whoami = new Whoami({
    url: application.url,
    headers: ['cookie'],
    cookies: null,
    timeoutMs: 3000,
    cacheMs: 0,
    recheckMs: 100,
    concurrency,
  })
  const guests: Guest[] = []
  for (const session of sessions) {
    const headers = { cookie: `sessionid=${session}` }
    const found = await whoami.whose({ token: null, headers, cookies: {}, query: {}, address: '' })
    guests.push({ open: true, identity: placeUser(found!, databases), ended: null })
  }
  const rechecks = new Rechecks<Guest>({
    live: { rules: { whoami, config: { databases } } },
    clients: () => guests,
    identify: (guest, user) => {
      if (guest.identity?.database !== user.database) throw new Error('another user')
      guest.identity = user
      return Promise.resolve()
    },
    end: (guest, error) => void (guest.ended = error),
    tickMs: 20,
  })
  rechecks.start()
  t.teardown(() => rechecks.stop())
  return guests
}

t.test('who is of the home database stays the same user, though the application says its name', async (t) => {
  const sessions = new Map([
    ['a', { user: 'ann', database: 'shop' }],
    ['b', { user: 'bob', database: 'other' }],
  ])
  const application = await startApplication(t, sessions)
  const guests = await seat(t, application, ['a', 'b'])
  const [ann, bob] = guests
  const before = guests.map(({ identity }) => identity)
  await until('both were asked about', () =>
    guests.every(({ identity, ended }, n) => ended ?? identity !== before[n]),
  )
  t.match(ann, { ended: null, identity: { id: 'ann', database: undefined } })
  t.match(bob, { ended: null, identity: { id: 'bob', database: 'other' } })
})

t.test('who is here leaves room at the application for who comes', async (t) => {
  const names = Array.from({ length: 40 }, (_, index) => `s${index}`)
  const application = await startApplication(t, new Map(names.map((name) => [name, { user: name }])))
  const slow = application.answer
  let busiest = 0
  const guests = await seat(t, application, names, 8)
  application.answer = (response, headers) => {
    busiest = Math.max(busiest, application.busy)
    setTimeout(() => slow(response, headers), 20)
  }
  const before = guests.map(({ identity }) => identity)
  await until('all were asked about', () => guests.every(({ identity }, n) => identity !== before[n]))
  t.equal(busiest, 4)
})

t.test('who is nobody any more is ended, and an outage ends nobody', async (t) => {
  const application = await startApplication(t, new Map([['a', { user: 'ann' }]]))
  const [ann] = await seat(t, application, ['a'])
  let failures = 0
  application.answer = (response) => {
    failures++
    reply(response, {}, 500)
  }
  await until('it was asked in vain', () => failures > 1)
  t.equal(ann?.ended, null)
  application.say({ user: null })
  await until('the end', () => ann?.ended !== null)
  t.match(ann?.ended, { code: 'unauthenticated' })
})
