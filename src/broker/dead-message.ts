import type { DeadLetter } from '../dead-letter.ts'
import { isChannel } from '../protocol/names.ts'
import type { ConsumeMessage, GetMessage, Options } from './connection.ts'
import { DEAD_HEADERS, isDeadHeader } from './dead-headers.ts'

/** A message as it was before it died. */
export interface Original {
  readonly exchange: string
  readonly routingKey: string
  readonly content: Buffer
  readonly options: Options.Publish
}

/** A message of the dead letters' queue. */
export function decodeLetter({ fields, properties, content }: ConsumeMessage | GetMessage): DeadLetter {
  const headers: Readonly<Record<string, unknown>> = properties.headers ?? {}
  const death = deathOf(headers)
  const name = textOf(headers[DEAD_HEADERS.routingKey]) ?? death?.routingKey ?? fields.routingKey
  const exchange = textOf(headers[DEAD_HEADERS.exchange]) ?? death?.exchange
  const channel = channelOf(name, exchange, headers['channel'])
  const time = headers[DEAD_HEADERS.time]
  const attempts = headers[DEAD_HEADERS.attempts]
  const own = Object.entries(headers).filter(([header]) => !isDeadHeader(header))
  return {
    key: textOf(headers[DEAD_HEADERS.id]) ?? null,
    // Anyone may write to that exchange: what is no time within reason is none.
    time: typeof time === 'number' && time > 0 && time < MAX_TIME ? time : null,
    source: 'amqp',
    name,
    channel,
    subsystem: /^[A-Za-z][A-Za-z0-9_-]{0,63}/.exec(channel ?? name)?.[0] ?? null,
    code: textOf(headers[DEAD_HEADERS.reason]) ?? death?.reason ?? 'unknown',
    reason:
      textOf(headers[DEAD_HEADERS.message]) ??
      (death === null
        ? 'it came to the dead letters without a reason'
        : `the broker gave it up in queue ${death.queue}: ${death.reason}`),
    attempts: typeof attempts === 'number' ? attempts : 0,
    body: content,
    headers: own.length === 0 ? null : tableToJson(Object.fromEntries(own)),
    properties: tableToJson({ ...keptOf(properties), ...(exchange === undefined ? {} : { exchange }) }),
    database: null,
  }
}

/**
 * What goes back to where it came from.
 * @param exchange where it goes if the letter does not say
 */
export function encodeOriginal(letter: DeadLetter, exchange: string): Original {
  const { exchange: own, ...properties } = tableFromJson(letter.properties ?? {})
  return {
    exchange: typeof own === 'string' ? own : exchange,
    routingKey: letter.name ?? '',
    content: Buffer.from(letter.body ?? ''),
    options: { ...keptOf(properties), headers: tableFromJson(letter.headers ?? {}), mandatory: true },
  }
}

/** Far beyond any clock, and within what PostgreSQL can write. */
const MAX_TIME = 4e12

/** Of a message's properties those that are its publisher's; the user's id and the time to live would not be accepted. */
const KEPT = [
  'contentType',
  'contentEncoding',
  'deliveryMode',
  'priority',
  'correlationId',
  'replyTo',
  'messageId',
  'timestamp',
  'type',
  'appId',
] as const

function keptOf(properties: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(properties).filter(
      ([name, value]) => (KEPT as readonly string[]).includes(name) && value !== undefined && value !== null,
    ),
  )
}

/** `<subsystem>.<rest>` from our exchange, or what the header says; null for what only a sender understands. */
function channelOf(name: string, exchange: string | undefined, header: unknown): string | null {
  if (typeof header === 'string' && isChannel(header)) return header
  const channel = name.replace('.', ':')
  return exchange !== '' && isChannel(channel) ? channel : null
}

interface Death {
  readonly reason: string
  readonly queue: string
  readonly exchange: string | undefined
  readonly routingKey: string | undefined
}

/** What the broker says of a message that it gave up by itself; the newest such event comes first. */
function deathOf(headers: Readonly<Record<string, unknown>>): Death | null {
  const deaths = headers['x-death']
  const [newest]: readonly unknown[] = Array.isArray(deaths) ? deaths : []
  if (typeof newest !== 'object' || newest === null) return null
  const { reason, queue, exchange, 'routing-keys': keys } = newest as Readonly<Record<string, unknown>>
  const [key]: readonly unknown[] = Array.isArray(keys) ? keys : []
  return {
    reason: textOf(reason) ?? 'unknown',
    queue: textOf(queue) ?? 'unknown',
    exchange: textOf(exchange),
    routingKey: textOf(key),
  }
}

function textOf(value: unknown): string | undefined {
  if (Buffer.isBuffer(value)) return value.toString()
  return typeof value === 'string' ? value : undefined
}

type Table = Record<string, unknown>

/** What JSON has no form for is written as amqplib writes typed values: `{"!": type, "value": …}`. */
function tableToJson(table: Readonly<Table>): Table {
  return mapTable(table, (value) => {
    if (Buffer.isBuffer(value)) return { '!': 'bytes', value: value.toString('base64') }
    if (typeof value === 'number' && !Number.isFinite(value)) return { '!': 'double', value: String(value) }
    return undefined
  })
}

function tableFromJson(table: Readonly<Table>): Table {
  return mapTable(table, (value) => {
    if (!isTable(value)) return undefined
    if (value['!'] === 'bytes' && typeof value['value'] === 'string')
      return Buffer.from(value['value'], 'base64')
    if (value['!'] === 'double') return { '!': 'double', value: Number(value['value']) }
    return undefined
  })
}

function mapTable(table: Readonly<Table>, change: (value: unknown) => unknown): Table {
  const map = (value: unknown): unknown => {
    const changed = change(value)
    if (changed !== undefined) return changed
    if (Array.isArray(value)) return value.map(map)
    return isTable(value) ? mapTable(value, change) : value
  }
  return Object.fromEntries(Object.entries(table).map(([name, value]) => [name, map(value)]))
}

function isTable(value: unknown): value is Readonly<Table> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value)
}
