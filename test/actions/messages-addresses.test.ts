import t from 'tap'
import { connect } from '../support/client.ts'
import { startDaemon, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { receive } from '../transports/upstream.ts'
import { CONFIG, enter, tokenOf } from './subsystems.ts'

// Pages with an old urlMapper: their addresses, their names, and the forms that their AjaxWrapper posts.

const postgres = await startPostgres(t)

/** What such a page has in its urlMappers, by controller. */
const PAGES = {
  messages: {
    delete: '/roles/messages/delete',
    query: '/roles/messages/all',
    read: '/roles/messages/read',
    countNotRead: '/roles/messages/count-not-read',
  },
  tasks: {
    delete: '/roles/tasks/delete',
    query: '/roles/tasks/all',
    progress: '/roles/tasks/progress-count',
  },
} as const

const config = {
  ...CONFIG,
  auth: { ...CONFIG.auth, cookie: 'token' },
  origins: ['https://app.example'],
  postgres: { url: postgres.url },
  calls: {
    prefix: '/live',
    aliases: Object.fromEntries(
      Object.entries(PAGES).flatMap(([subsystem, urls]) =>
        Object.entries(urls).map(([name, path]) => [path, `${subsystem}.${name}`]),
      ),
    ),
  },
}

const daemon = await startDaemon(t, config, { migrate: true })

/** As jQuery and ExtJS post: a form, with the page's cookie and origin. */
async function form(
  path: string,
  body: string,
  user: string,
  headers: Readonly<Record<string, string>> = {},
) {
  const response = await fetch(`${daemon.url}${path}`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
      'X-Requested-With': 'XMLHttpRequest',
      Cookie: `token=${tokenOf(user)}`,
      Origin: 'https://app.example',
      ...headers,
    },
    body,
  })
  const { data, error } = (await response.json()) as { data?: unknown; error?: { code: string } }
  return { status: response.status, data, code: error?.code }
}

async function write(to: string): Promise<number> {
  const [row] = await postgres.psql(
    'INSERT INTO livemessage_messages.message (to_user) VALUES ($1) RETURNING id::float8 AS id',
    [to],
  )
  return Number(row?.['id'])
}

await t.test('an old page lists, reads, counts and deletes by its own addresses, with forms', async (t) => {
  const { query, read, countNotRead, delete: remove } = PAGES.messages
  const [first, second, third] = [await write('ann1'), await write('ann1'), await write('ann1')]
  t.match(await form(query, 'start=0&limit=25', 'ann1'), {
    status: 200,
    data: [{ id: third }, { id: second }, { id: first }],
  })
  const page = await form(query, 'start=1&limit=1&_dc=1700000000000', 'ann1')
  t.match(page.data, [{ id: second }])
  t.equal((page.data as unknown[]).length, 1)
  t.match(await form(query, '', 'ann1'), { status: 200 })
  t.match(await form(query, 'start=&limit=', 'ann1'), { status: 200 }, 'an empty field is none')
  t.same((await form(countNotRead, '', 'ann1')).data, { count: 3 })
  t.same((await form(read, `id=${first}`, 'ann1')).data, { success: true })
  t.same((await form(remove, `id=${second}`, 'ann1')).data, { success: true })
  t.same((await form(remove, `id=${second}`, 'ann1')).data, { success: false })
  t.same((await form(read, `id=${third}`, 'ben1')).data, { success: false }, "another's")
  t.same((await form(countNotRead, '', 'ann1')).data, { count: 1 })
})

await t.test('and its tasks', async (t) => {
  const { query, progress, delete: remove } = PAGES.tasks
  const [row] = await postgres.psql(`SELECT livemessage.task_create('ann2', 't')::float8 AS id`)
  const id = Number(row?.['id'])
  await postgres.psql(`SELECT livemessage.task_progress(${id}, 42)`)
  t.match((await form(query, 'start=0&limit=25', 'ann2')).data, [{ id, progress: 42 }])
  t.same((await form(progress, '', 'ann2')).data, { success: true, count: 1, progress: 42 })
  t.same((await form(remove, `id=${id}`, 'ann2')).data, { success: true })
})

await t.test('a number of a form is one in digits, and nothing else', async (t) => {
  for (const id of [
    '',
    '0',
    '-1',
    '1.5',
    '1e3',
    '0x10',
    ' 1',
    '1 ',
    'abc',
    '9007199254740993',
    '99999999999999999999',
    'NaN',
  ]) {
    const answer = await form(PAGES.messages.read, new URLSearchParams({ id }).toString(), 'ann3')
    t.match(answer, { status: 400, code: 'invalid_input' }, JSON.stringify(id))
  }
  t.match(await form(PAGES.messages.query, 'limit=1000000000&start=9007199254740991', 'ann3'), {
    status: 200,
    data: [],
  })
  for (const body of ['limit=0', 'limit=-5', 'limit=1.5', 'start=-1', 'start=null']) {
    t.match(await form(PAGES.messages.query, body, 'ann3'), { status: 400 }, body)
  }
})

await t.test('in JSON a text is no number, neither by an alias nor over the WebSocket', async (t) => {
  const json = { 'Content-Type': 'application/json' }
  t.match(await form(PAGES.messages.read, '{"id":"1"}', 'ann4', json), { status: 400, code: 'invalid_input' })
  t.match(await form(PAGES.messages.read, '{"id":1}', 'ann4', json), { status: 200 })
  const ann = await enter(t, daemon, 'ann4')
  t.match(await ann.ask({ type: 'call', action: 'messages.read', data: { id: '1' } }), {
    code: 'invalid_input',
  })
})

await t.test('a form of a page that nobody has named does nothing', async (t) => {
  const id = await write('ann5')
  for (const Origin of ['https://evil.example', 'null']) {
    t.match(await form(PAGES.messages.delete, `id=${id}`, 'ann5', { Origin }), {
      status: 403,
      code: 'forbidden',
    })
  }
  const bare = await fetch(`${daemon.url}${PAGES.messages.delete}`, {
    method: 'POST',
    headers: { Cookie: `token=${tokenOf('ann5')}`, 'Content-Type': 'application/x-www-form-urlencoded' },
    body: `id=${id}`,
  })
  t.equal(bare.status, 403, 'without an Origin, too')
  const same = await form(PAGES.messages.countNotRead, '', 'ann5', { Origin: daemon.url })
  t.same(same.data, { count: 1 }, 'a page of the same host may')
})

await t.test('the old names are actions everywhere: under the prefix and over the WebSocket', async (t) => {
  const id = await write('ann6')
  const ann = await enter(t, daemon, 'ann6')
  t.match(await ann.call('messages.query', { start: 0, limit: 25 }), [{ id }])
  t.same(await ann.call('messages.countNotRead'), { count: 1 })
  t.same(await ann.call('tasks.query'), [])
  t.same(await ann.call('tasks.progress'), { success: true, count: 0, progress: 0 })
  t.match(await form('/live/messages/query', 'limit=5', 'ann6'), { status: 200, data: [{ id }] })
  t.match(await form('/call/messages/query', '', 'ann6'), { status: 404 }, 'the prefix is another one here')
})

await t.test('with calls.plain an alias answers as the old server did: the result alone', async (t) => {
  const plain = await startDaemon(t, { ...config, calls: { ...config.calls, plain: true } })
  const id = await write('ann8')
  const ask = async (path: string, body: string) => {
    const response = await fetch(plain.url + path, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-www-form-urlencoded',
        Authorization: `Bearer ${tokenOf('ann8')}`,
        Origin: 'https://app.example',
      },
      body,
    })
    return response.json()
  }
  t.match(await ask(PAGES.messages.query, 'start=0&limit=25'), [{ id }])
  t.same(await ask(PAGES.messages.countNotRead, ''), { count: 1 })
  t.same(await ask(PAGES.messages.delete, `id=${id}`), { success: true })
  t.same(await ask(PAGES.tasks.progress, ''), { success: true, count: 0, progress: 0 })
  t.match(await ask(PAGES.messages.delete, 'id=x'), { error: { code: 'invalid_input' } })
  t.same(await ask('/live/messages/query', ''), { data: [] }, 'under the prefix it is as ever')
})

await t.test('a form with a session is one on every node', async (t) => {
  const node = (): Promise<TestDaemon> => startDaemon(t, config)
  const [a, b] = await Promise.all([node(), node()])
  await connect(t, a)
  const page = await receive(t, a, 'channel=messages:ann7', { Authorization: `Bearer ${tokenOf('ann7')}` })
  const id = await write('ann7')
  await page.next('message')
  for (const at of [a, b]) {
    const answered = async () => {
      const response = await fetch(`${at.url}/live/messages/read`, {
        method: 'POST',
        headers: { ...page.pass, 'Content-Type': 'application/x-www-form-urlencoded' },
        body: `id=${id}`,
      })
      return { status: response.status, body: await response.json() }
    }
    t.same(await answered(), { status: 200, body: { data: { success: true } } })
  }
})
