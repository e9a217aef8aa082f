import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import t from 'tap'
import { createAmqpPublisher } from '../../src/sources/amqp-publisher.ts'
import { browserSkip, complaintsOf, openBrowser } from '../support/browser.ts'
import { freePort, startDaemon, type TestConfig, type TestDaemon } from '../support/daemon.ts'
import { startPostgres } from '../support/postgres.ts'
import { CURL, PSQL, skipWithout } from '../support/packages.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'

const run = promisify(execFile)

const skip = browserSkip() || rabbitSkip() || skipWithout(PSQL) || skipWithout(CURL)
if (skip !== false) {
  t.plan(0, skip)
  process.exit()
}

const CONFIG: TestConfig = {
  dev: true,
  ACTIONS: {
    chat: { say: './actions/chat/say.ts' },
    messages: {
      all: './actions/messages/all.ts',
      read: './actions/messages/read.ts',
      delete: './actions/messages/delete.ts',
      'not-read-count': './actions/messages/not-read-count.ts',
      sender: './actions/messages/sender.ts',
    },
  },
  channels: {
    chat: { access: 'public', history: { count: 50 } },
    messages: { access: 'user', history: { count: 50 } },
  },
  auth: { jwt: { secret: 'a secret of thirty-two bytes, at least' } },
}

const [postgres, rabbit] = await Promise.all([startPostgres(t), startRabbit(t)])
const SERVERS = { postgres: { url: postgres.url }, broker: { url: rabbit.url } }
const daemon = await startDaemon(t, { ...CONFIG, ...SERVERS }, { migrate: true })
const browser = await openBrowser(t)

/** Opens the page and waits until it is connected. */
async function open(at: TestDaemon = daemon): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(at.url)
  await connected(page)
  return page
}

async function connected(page: Page): Promise<void> {
  await page.locator('.connection[data-state=connected]').waitFor()
}

/** The texts of the chat so far. */
function texts(page: Page): Promise<string[]> {
  return page.locator('.line .what').allTextContents()
}

async function heard(page: Page, text: string): Promise<void> {
  await until(`'${text}' in the chat`, async () => (await texts(page)).includes(text))
}

/** Who said what, as `name: text`. */
async function lines(page: Page): Promise<string[]> {
  const names = await page.locator('.line .who b').allTextContents()
  return (await texts(page)).map((text, index) => `${names[index]}: ${text}`)
}

async function spoken(page: Page, line: string): Promise<void> {
  await until(`'${line}' in the chat`, async () => (await lines(page)).includes(line))
}

async function shell(command: string): Promise<void> {
  await run('sh', ['-c', command])
}

/** Runs a command of the page with psql itself in place of `livemessage psql`, which finds another database. */
async function psql(shown = ''): Promise<void> {
  await shell(shown.replace(/^npx livemessage psql -- /, `psql '${postgres.url}' -v ON_ERROR_STOP=1 `))
}

async function speak(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text)
  await page.getByLabel('Message', { exact: true }).press('Enter')
}

async function become(page: Page, name: string): Promise<void> {
  await page.getByLabel(name, { exact: true }).check({ force: true })
  await page.locator('#facts', { hasText: `as ${name.toLowerCase()}` }).waitFor()
}

await t.test('the page loads without a complaint, and says what it is connected to', async (t) => {
  const page = await browser.newPage()
  const complaints = complaintsOf(page)
  const response = await page.goto(daemon.url)
  await connected(page)
  t.match(response?.headers()['content-security-policy'], /script-src 'self'/)
  await page.locator('.way[data-state=up]').nth(2).waitFor()
  t.equal(await page.locator('.way[data-state=up]').count(), 3, 'all three ways are open')
  t.match(
    await page.locator('#facts').textContent(),
    /^anonymous · session [\w-]+ · (uWebSockets\.js|ws on node:http)$/,
  )
  t.match(await page.locator('.way .command').allTextContents(), [
    /livemessage\.publish\('chat:general'/,
    /notify livemessages/,
    /--amqp/,
    /exchange=livemessages routing_key=chat\.general/,
    new RegExp(`curl '${daemon.url}/publish`),
    new RegExp(`--url ${daemon.url}`),
  ])
  t.same(complaints, [])
})

await t.test('two tabs see each other, and a third one what was said before', async (t) => {
  const [one, two] = await Promise.all([open(), open()])
  await one.getByLabel('Your name').fill('Ann')
  await speak(one, 'hello from one')
  await heard(two, 'hello from one')
  await speak(two, 'hello from two')
  await heard(one, 'hello from two')
  t.match(await one.locator('.line .who b').allTextContents(), /Ann/)
  t.equal(
    await one.getByLabel('Message', { exact: true }).inputValue(),
    '',
    'what was sent is gone from the field',
  )
  const three = await open()
  await heard(three, 'hello from two')
  t.same(await texts(three), await texts(one))
})

await t.test('what psql, an AMQP client and curl publish shows in the page', async (t) => {
  const page = await open()
  // The very commands that the page shows, but for the command that finds the database.
  const [publish, notify] = await page.locator('.way[aria-label=SQL] .command code').allTextContents()
  await psql(publish)
  await spoken(page, 'SQL: hello')
  await psql(notify)
  await spoken(page, 'NOTIFY: hello')

  const publisher = await createAmqpPublisher({ url: rabbit.url, exchange: 'livemessages' })
  await publisher.publish('chat:general', '{"name":"AMQP","text":"hello"}')
  await publisher.close()
  await spoken(page, 'AMQP: hello')

  const curl = await page.locator('.way[aria-label=HTTP] .command code').first().textContent()
  await shell(`${curl} --silent --fail`)
  await spoken(page, 'HTTP: hello')
  t.same((await lines(page)).slice(-4), ['SQL: hello', 'NOTIFY: hello', 'AMQP: hello', 'HTTP: hello'])
})

await t.test('what is published is text and never markup, and data of any form is shown', async (t) => {
  const page = await open()
  const complaints = complaintsOf(page)
  const script = `<img src=x onerror="document.title='pwned'"><script>document.title='pwned'</script>`
  await daemon.publish('chat:general', { name: script, text: script })
  await heard(page, script)
  for (const data of [
    null,
    7,
    'plain',
    [1, { a: script }],
    { text: { deep: 1 } },
    { name: 5, text: '' },
    {},
  ]) {
    await daemon.publish('chat:general', data)
  }
  await postgres.psql(
    'INSERT INTO livemessage_messages.message (to_user, from_user, subject, text) VALUES ($1, $2, $2, $2)',
    ['ann', script],
  )
  await become(page, 'Ann')
  await page.locator('.message .text', { hasText: script }).waitFor()
  await heard(page, '{"text":{"deep":1}}')
  t.equal(await page.locator('main img, main script').count(), 0)
  t.match(await page.title(), /livemessages/)
  t.same(complaints, [])
  await postgres.psql('DELETE FROM livemessage_messages.message')
})

await t.test("a user's messages: arriving, counted, read by a click, deleted by a cross", async (t) => {
  const page = await open()
  await postgres.psql(
    `INSERT INTO livemessage_messages.message (to_user, from_user, subject) VALUES ('ann', 'ben', 'before'), ('ben', 'ann', 'not yours')`,
  )
  await become(page, 'Ann')
  await page.locator('.message .subject', { hasText: 'before' }).waitFor()
  t.equal(await page.locator('#unread').textContent(), '+1')

  await psql((await page.locator('#messages-way code').textContent()) ?? '')
  await page.locator('.message .subject', { hasText: 'Hello' }).waitFor()
  t.same(await page.locator('.message .subject').allTextContents(), ['Hello', 'before'], 'newest first')
  t.equal(await page.locator('#unread').textContent(), '+2')
  t.equal(await page.title(), '(+2) livemessages')

  await page.locator('.message .open').first().click()
  await page.locator('#unread', { hasText: '+1' }).waitFor()
  t.same(
    await postgres.psql(
      `SELECT subject, read FROM livemessage_messages.message WHERE to_user = 'ann' ORDER BY id`,
    ),
    [
      { subject: 'before', read: false },
      { subject: 'Hello', read: true },
    ],
  )
  await page.getByLabel('Delete: before').click()
  await page.locator('#unread', { hasText: '+1' }).waitFor({ state: 'hidden' })
  t.same(await page.locator('.message .subject').allTextContents(), ['Hello'])
  t.equal(await page.title(), 'livemessages')

  await become(page, 'Ben')
  await page.locator('.message .subject', { hasText: 'not yours' }).waitFor()
  t.equal(await page.locator('.message').count(), 1, "another user's are gone")
  await postgres.psql('DELETE FROM livemessage_messages.message')
})

await t.test('twenty-five at a time, and more on demand, while new ones arrive', async (t) => {
  await postgres.psql(
    `INSERT INTO livemessage_messages.message (to_user, subject) SELECT 'ben', 'number ' || n FROM generate_series(1, 30) AS n`,
  )
  const page = await open()
  await become(page, 'Ben')
  await page.locator('.message').nth(24).waitFor()
  t.equal(await page.locator('.message').count(), 25)
  t.equal(await page.locator('#unread').textContent(), '+30')
  await postgres.psql(
    `INSERT INTO livemessage_messages.message (to_user, subject) VALUES ('ben', 'meanwhile')`,
  )
  await page.locator('.subject', { hasText: 'meanwhile' }).waitFor()
  await page.getByRole('button', { name: 'More messages…' }).click()
  await until('all of them', async () => (await page.locator('.message').count()) === 31)
  t.equal(await page.getByRole('button', { name: 'More messages…' }).count(), 0)
  await postgres.psql('DELETE FROM livemessage_messages.message')
})

for (const journal of ['memory', 'postgres'] as const) {
  const knows = journal === 'postgres'
  const ending = knows ? 'misses nothing' : 'says what it can not know'
  await t.test(
    `a daemon with its journal in ${journal} restarts: the page comes back by itself, and ${ending}`,
    async (t) => {
      const port = await freePort()
      const server = knows ? postgres : await startPostgres(t)
      const servers = { ...SERVERS, postgres: { url: server.url }, journal }
      const config = { ...CONFIG, ...servers, port }
      const first = await startDaemon(t, config, { migrate: true })
      const page = await open(first)
      await become(page, 'Ann')
      await speak(page, 'before the restart')
      await heard(page, 'before the restart')
      await first.stop('restart')
      await page.locator('.connection:not([data-state=connected])').waitFor()
      await server.psql(
        `INSERT INTO livemessage_messages.message (to_user, subject) VALUES ('ann', 'meanwhile')`,
      )
      const second = await startDaemon(t, config, { migrate: true })
      await second.publish('chat:general', { name: 'curl', text: 'before anybody was back' })
      await connected(page)
      await heard(page, 'before anybody was back')
      if (knows) {
        t.equal(await page.locator('.gap').count(), 0)
      } else {
        await page.locator('.gap').waitFor()
        t.same((await page.locator('#chat-lines > li').allTextContents()).slice(-2), [
          'Something may be missing here: the daemon could not tell what came meanwhile.',
          await page.locator('.line').last().textContent(),
        ])
      }
      await page.locator('.subject', { hasText: 'meanwhile' }).waitFor()
      t.match(await page.locator('#facts').textContent(), /^as ann/, 'and it is the same user')
      await second.publish('chat:general', { name: 'curl', text: 'after it' })
      await heard(page, 'after it')
      t.equal((await texts(page)).filter((text) => text === 'before anybody was back').length, 1)
      await second.stop()
      await server.psql('DELETE FROM livemessage_messages.message')
    },
  )
}

await t.test('a connection that is lost for a moment: nothing is missing, and no gap is shown', async (t) => {
  const page = await open()
  await speak(page, 'before the cut')
  await heard(page, 'before the cut')
  // Ended by the server as a crash would: without a close frame.
  const [connection] = [...(daemon.daemon.hub ?? [])].slice(-1)
  connection?.disconnect('test', 4450)
  await daemon.publish('chat:general', { name: 'curl', text: 'while it was away' })
  await heard(page, 'while it was away')
  t.equal(await page.locator('.gap').count(), 0)
  t.equal((await texts(page)).filter((text) => text === 'before the cut').length, 1)
})

await t.test('one that the operator disconnects does not come back by itself, only when asked', async (t) => {
  const page = await open()
  const [connection] = [...(daemon.daemon.hub ?? [])].slice(-1)
  connection?.disconnect('enough')
  await page.locator('.connection[data-state=refused]').waitFor()
  t.match(await page.locator('#state').textContent(), /4405/)
  await page.getByRole('button', { name: 'Connect now' }).click()
  await connected(page)
})

await t.test('a daemon without database and broker says so, and the chat works', async (t) => {
  const bare = await startDaemon(t, CONFIG)
  const page = await open(bare)
  const complaints = complaintsOf(page)
  await page.locator('.way[data-state=off]').nth(1).waitFor()
  t.match(await page.locator('.way[data-state=off]').allTextContents(), [
    /SQL.*postgres: false/,
    /AMQP.*LIVEMESSAGES_BROKER_URL/,
  ])
  t.match(await page.locator('#messages-note').textContent(), /without a database/)
  t.equal(await page.getByLabel('Ann', { exact: true }).isDisabled(), true)
  await speak(page, 'all the same')
  await heard(page, 'all the same')
  t.same(complaints, [])
})

await t.test('what the demo gives is for its own page: no token for others', async (t) => {
  const ask = (headers: Record<string, string>) => fetch(`${daemon.url}/demo/setup?user=ann`, { headers })
  t.equal((await ask({})).status, 403, 'a program')
  t.equal((await ask({ 'Sec-Fetch-Site': 'cross-site' })).status, 403, "another site's page")
  const rebound = await run('curl', [
    '-s',
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    '-H',
    'Host: evil.example',
    '-H',
    'Sec-Fetch-Site: same-origin',
    `${daemon.url}/demo/setup?user=ann`,
  ])
  t.equal(rebound.stdout, '403', 'a foreign name that leads here')
})

await t.test('it fits every screen', async (t) => {
  const page = await open()
  for (const width of [320, 360, 768, 1280]) {
    await page.setViewportSize({ width, height: 800 })
    const wide = await page.evaluate('document.documentElement.scrollWidth')
    t.equal(wide, width, `nothing stands out at ${width} px`)
  }
})

const folder = process.env['LIVEMESSAGES_SCREENSHOTS']
if (folder !== undefined) {
  await t.test('screenshots', async () => {
    await mkdir(folder, { recursive: true })
    for (const [name, text] of Object.entries({
      Ann: 'Did the night job finish?',
      Ben: 'At 4:12. 1,204 orders, nothing left over.',
      Cleo: 'The report is out. I have put the long version, with every table that anybody ever asked for, into the shared folder.',
      psql: 'order 1205 is paid',
    })) {
      await daemon.publish('chat:general', { name, text })
    }
    await postgres.psql(
      `INSERT INTO livemessage_messages.message (to_user, from_user, subject, text, read) VALUES
       ('ann', 'billing', 'Invoice 2291', 'Paid this morning. Nothing to do.', true),
       ('ann', 'ben', 'Lunch?', 'At one, the place by the river.', false),
       ('ann', 'orders', 'Order 1205', 'Shipped. It should arrive on Thursday.', false)`,
    )
    for (const scheme of ['light', 'dark'] as const) {
      for (const width of [360, 768, 1280]) {
        const page = await open()
        await page.emulateMedia({ colorScheme: scheme })
        await page.setViewportSize({ width, height: 800 })
        await become(page, 'Ann')
        await page.locator('.message').nth(2).waitFor()
        await page.locator('.way').nth(2).waitFor()
        await page.screenshot({ path: join(folder, `${scheme}-${width}.png`), fullPage: true })
        await page.close()
      }
    }
  })
}
