import { CHANNELS, onBoth } from './both.ts'

const OPEN = '/socket.io/?EIO=4&transport=polling'

onBoth('engine.io: no script of a page can open a connection and read it', async (t, start) => {
  const daemon = await start(CHANNELS)
  const answer = await fetch(`${daemon.url}${OPEN}&j=0`)
  t.equal(answer.status, 403)
  t.notMatch(await answer.text(), /sid|___eio/)
  t.equal((await fetch(`${daemon.url}${OPEN}`)).status, 200)
})

onBoth('engine.io: cookies are for pages that the list names, not for all', async (t, start) => {
  const daemon = await start({ ...CHANNELS, origins: ['*', 'https://app.example'] })
  const allowed = async (origin: string): Promise<(string | null)[]> => {
    const { headers } = await fetch(`${daemon.url}${OPEN}`, { headers: { Origin: origin } })
    return ['access-control-allow-origin', 'access-control-allow-credentials'].map((name) =>
      headers.get(name),
    )
  }
  t.strictSame(await allowed('https://app.example'), ['https://app.example', 'true'])
  t.strictSame(await allowed(daemon.url), [daemon.url, 'true'])
  t.strictSame(await allowed('https://elsewhere.example'), ['https://elsewhere.example', null])
})
