import t from 'tap'
import { resolveConfig } from '../../src/config/resolve.ts'
import { ConfigError } from '../../src/errors.ts'

const SECRET = 'a secret of sixteen characters'

function resolve(signals: unknown, more: object = {}) {
  const config = { ACTIONS: {}, postgres: false, channels: { chat: {} }, ...more, signals }
  return resolveConfig({ config }, { root: '/', file: null })
}

function problems(signals: unknown, more?: object): string[] {
  try {
    resolve(signals, more)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(({ key, message }) => `${key}: ${message}`)
  }
}

void t.test('signals: what is not said has its default', async (t) => {
  t.match(resolve(undefined).config.signals, {
    webhooks: [],
    exchange: null,
    keepMs: 3_600_000,
    max: 100_000,
  })
  const { config, warnings } = resolve(
    { webhooks: [{ url: 'https://app.example:8443/live/s3cr3t?k=1', secret: SECRET }], exchange: true },
    { broker: { url: 'amqp://localhost' } },
  )
  t.match(config.signals.webhooks, [
    {
      name: 'app.example:8443',
      secrets: [SECRET],
      timeoutMs: 10_000,
      events: ['start', 'connect', 'disconnect', 'subscribe', 'unsubscribe', 'occupied', 'vacated'],
      subsystems: null,
    },
  ])
  t.match(config.signals.exchange, {
    exchange: 'livemessages.signals',
    name: 'exchange:livemessages.signals',
  })
  t.same(warnings, [])
})

void t.test('signals: http beyond this machine is warned of', async (t) => {
  const webhook = (url: string) => resolve({ webhooks: [{ url, secret: SECRET }] }).warnings
  t.match(webhook('http://app.example/live'), [/signals\.webhooks\[0\]\.url is http/])
  t.same(webhook('http://127.0.0.1:8000/live'), [])
  t.same(webhook('http://[::1]:8000/live'), [])
})

void t.test('signals: what can not be is refused with its key; a secret is not shown', async (t) => {
  const url = 'https://app.example/live'
  const refusals = [
    problems({ webhooks: [{ url: 'ftp://app.example', secret: SECRET }] }),
    problems({ webhooks: [{ url, secret: 'too short' }] }),
    problems({ webhooks: [{ url, secret: ['whsec_dG9vIHNob3J0', SECRET] }] }),
    problems({ webhooks: [{ url, secret: [] }] }),
    problems({ webhooks: [{ url }] }),
    problems({ webhooks: [{ url, secret: SECRET, events: ['conect'] }] }),
    problems({ webhooks: [{ url, secret: SECRET, subsystems: ['chta'] }] }),
    problems({
      webhooks: [
        { url, secret: SECRET },
        { url, secret: SECRET },
      ],
    }),
    problems({ webhooks: [{ url, secret: SECRET, timeout: '2h' }] }),
    problems({ webhooks: [{ url, secret: SECRET, name: ' hooks' }] }),
    problems({ exchange: true }),
    problems({ exchange: { name: 'livemessages' } }, { broker: { url: 'amqp://localhost' } }),
    problems({ lostAfter: '1s' }),
    problems({ max: 0 }),
    problems({ webhook: [] }),
    problems({ webhooks: [{ url, secret: ['dG9v', 12] }] }),
    problems({ webhooks: [{ url: 'app.example/dG9v', secret: SECRET }] }),
  ]
  for (const [index, refusal] of refusals.entries()) t.equal(refusal.length, 1, `${index}: ${refusal.join()}`)
  t.match(refusals[1], [/^signals\.webhooks\[0\]\.secret: expected 16 characters/])
  t.match(refusals[5], [/\.events: expected a list of .*, got \['conect'\]$/])
  t.match(refusals[7], [/^signals\.webhooks\[1\]\.name: /])
  t.match(refusals[10], [/^signals\.exchange: needs a broker/])
  t.notMatch(JSON.stringify(refusals), /too short|dG9v/)
})
