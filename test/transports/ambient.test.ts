import type { TestConfig } from '../support/daemon.ts'
import { connect } from '../support/client.ts'
import { onBoth, SECRET, token } from './both.ts'

const COOKIES: TestConfig = {
  ACTIONS: { own: {} },
  channels: { own: { access: 'user', publish: 'user' } },
  auth: { jwt: { secret: SECRET }, cookie: 'session' },
  origins: ['https://app.example', '*'],
}

onBoth("a page that only '*' lets in does not act as its visitor", async (t, start) => {
  const daemon = await start(COOKIES)
  const cookie = `session=${await token('42')}`
  const by = async (
    origin: string | null,
    headers: Record<string, string> = { cookie },
  ): Promise<unknown> => {
    const client = await connect(t, daemon, {
      headers: origin === null ? headers : { ...headers, Origin: origin },
    })
    return client.welcome?.['user']
  }
  t.equal(await by('https://app.example'), '42')
  t.equal(await by(daemon.url), '42', 'its own pages')
  t.equal(await by(null), '42', 'no page at all')
  t.equal(await by('https://elsewhere.example'), null)
  const bearer = { Authorization: `Bearer ${await token('42')}` }
  t.equal(await by('https://elsewhere.example', bearer), '42', 'who has the token put it there')
  const hooked = await start({
    ...COOKIES,
    hooks: {
      authenticate: ({ cookies, headers }: { cookies: object; headers: Record<string, string> }) => ({
        id: JSON.stringify([
          Object.keys(cookies),
          headers['cookie'] ?? null,
          headers['authorization'] ?? null,
        ]),
      }),
    },
  })
  const foreign = await connect(t, hooked, {
    headers: { cookie, Authorization: 'Basic eDp5', Origin: 'https://elsewhere.example' },
  })
  t.equal(foreign.welcome?.['user'], '[[],null,null]')
})
