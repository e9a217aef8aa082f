import { z } from 'zod'
import { count, duration, flag, leaf, list, type Shape, text, url } from './leaves.ts'
import { SIGNAL_NAMES, type SignalName } from './signals-config.ts'
import type { SignalExchangeInput, SignalsInput, WebhookInput } from './signals-input.ts'
import { isText } from './values.ts'

function isSignalName(value: unknown): value is SignalName {
  return SIGNAL_NAMES.some((name) => name === value)
}

const target = {
  events: leaf(`a list of ${SIGNAL_NAMES.map((name) => `'${name}'`).join(', ')}`, (value) =>
    Array.isArray(value) && value.every(isSignalName) ? value : undefined,
  ).optional(),
  subsystems: list('subsystems', isText).optional(),
}

const webhook = z.strictObject({
  ...target,
  url: url("a URL such as 'https://app.example/live'", ['https', 'http']),
  secret: leaf('a text, or a list of texts', (value) => {
    const secrets: unknown[] = Array.isArray(value) ? value : [value]
    return secrets.length > 0 && secrets.every(isText) ? secrets : undefined
  }),
  // It is a label of metrics, and a part of log lines.
  name: leaf('a name of 1 to 100 letters, digits and ._:/-', (value) =>
    typeof value === 'string' && /^[\w.:/-]{1,100}$/.test(value) ? value : undefined,
  ).optional(),
  timeout: duration(60_000).optional(),
} satisfies Shape<WebhookInput>)

const exchange = z.strictObject({
  ...target,
  name: text("an exchange's name").optional(),
} satisfies Shape<SignalExchangeInput>)

export const signals = z.strictObject({
  webhooks: z.array(webhook).optional(),
  exchange: z.union([flag(), exchange]).optional(),
  keep: duration().optional(),
  max: count(1, 10_000_000).optional(),
  lostAfter: duration(3_600_000).optional(),
} satisfies Shape<SignalsInput>)
