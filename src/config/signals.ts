import { isLoopback } from './address.ts'
import type { BrokerConfig, ChannelPolicy } from './config.ts'
import type { Report } from './report.ts'
import type { Parsed } from './schema.ts'
import {
  DEFAULT_SIGNALS,
  type SignalsConfig,
  type SignalTargetConfig,
  type WebhookConfig,
} from './signals-config.ts'

/** What holds where nothing is said. */
const DEFAULTS = {
  exchange: 'livemessages.signals',
  timeoutMs: 10_000,
  keepMs: 3_600_000,
  max: 100_000,
  lostAfterMs: 15_000,
}

/** So short a time without a sign of life is a slow database, and no dead node. */
const LEAST_LOST_MS = 5_000

const LEAST_SECRET = 16

interface Surroundings {
  readonly broker: BrokerConfig | null
  readonly channels: ReadonlyMap<string, ChannelPolicy>
}

/** Resolves `signals`, and reports what does not go together. */
export function resolveSignals(
  input: Parsed['signals'],
  { broker, channels }: Surroundings,
  report: Report,
): SignalsConfig {
  const webhooks = (input?.webhooks ?? []).map((webhook, index) => {
    const key = `signals.webhooks[${index}]`
    checkSubsystems(key, webhook.subsystems, channels, report)
    return resolveWebhook(key, webhook, report)
  })
  for (const [index, { name }] of webhooks.entries()) {
    if (webhooks.findIndex((other) => other.name === name) === index) continue
    report.problem(
      `signals.webhooks[${index}].name`,
      `another webhook is called '${name}': give each a name of its own`,
    )
  }
  const lostAfterMs = input?.lostAfter ?? DEFAULTS.lostAfterMs
  if (lostAfterMs < LEAST_LOST_MS) {
    report.problem(
      'signals.lostAfter',
      `expected ${LEAST_LOST_MS / 1000} seconds at least, got ${lostAfterMs} ms`,
    )
  }
  return {
    webhooks,
    exchange: resolveExchange(input?.exchange, { broker, channels }, report),
    keepMs: input?.keep ?? DEFAULTS.keepMs,
    max: input?.max ?? DEFAULTS.max,
    lostAfterMs,
  }
}

type WebhookParsed = NonNullable<NonNullable<Parsed['signals']>['webhooks']>[number]

function resolveWebhook(key: string, webhook: WebhookParsed, report: Report): WebhookConfig {
  const { host, hostname, protocol } = new URL(webhook.url)
  if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
    report.warning(`${key}.url is http: whoever stands in between can read who is connected`)
  }
  for (const secret of webhook.secret) checkSecret(`${key}.secret`, secret, report)
  return {
    // Not the path: in it there may be a secret.
    name: webhook.name ?? host,
    url: webhook.url,
    secrets: webhook.secret,
    timeoutMs: webhook.timeout ?? DEFAULTS.timeoutMs,
    ...wanted(webhook),
  }
}

function resolveExchange(
  input: NonNullable<Parsed['signals']>['exchange'],
  { broker, channels }: Surroundings,
  report: Report,
): SignalsConfig['exchange'] {
  if (input === undefined || input === false) return null
  const said = input === true ? {} : input
  if (broker === null) report.problem('signals.exchange', 'needs a broker: set broker.url')
  checkSubsystems('signals.exchange', said.subsystems, channels, report)
  const exchange = said.name ?? DEFAULTS.exchange
  if (broker !== null && [broker.exchange, `${broker.exchange}.dead`].includes(exchange)) {
    report.problem(
      'signals.exchange.name',
      `expected one apart from the publications' own, got '${exchange}'`,
    )
  }
  return { name: `exchange:${exchange}`, exchange, ...wanted(said) }
}

function wanted({
  events,
  subsystems,
}: {
  events?: SignalTargetConfig['events'] | undefined
  subsystems?: readonly string[] | undefined
}): Pick<SignalTargetConfig, 'events' | 'subsystems'> {
  return { events: events ?? DEFAULT_SIGNALS, subsystems: subsystems ?? null }
}

function checkSubsystems(
  key: string,
  subsystems: readonly string[] | undefined,
  channels: ReadonlyMap<string, ChannelPolicy>,
  report: Report,
): void {
  const unknown = subsystems?.find((subsystem) => !channels.has(subsystem))
  if (unknown === undefined) return
  report.problem(`${key}.subsystems`, `expected subsystems of ACTIONS or channels, got '${unknown}'`)
}

/** The secret itself is not told: a problem stands in logs. */
function checkSecret(key: string, secret: string, report: Report): void {
  if (secret.startsWith('whsec_')) {
    const encoded = secret.slice('whsec_'.length)
    const bytes = Buffer.from(encoded, 'base64')
    if (/^[A-Za-z0-9+/]+={0,2}$/.test(encoded) && bytes.length >= LEAST_SECRET) return
    report.problem(key, `expected base64 of ${LEAST_SECRET} bytes at least behind 'whsec_'`)
  } else if (secret.length < LEAST_SECRET) {
    report.problem(
      key,
      `expected ${LEAST_SECRET} characters at least, got ${secret.length}; 'openssl rand -base64 24' makes one`,
    )
  }
}
