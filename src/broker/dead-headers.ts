/** What we write into a dead letter's headers, beside the original's own. */
export const DEAD_HEADERS = {
  /** Unique: a letter that comes twice is the same. */
  id: 'x-livemessage-id',
  /** The code. */
  reason: 'x-livemessage-reason',
  message: 'x-livemessage-message',
  exchange: 'x-livemessage-exchange',
  routingKey: 'x-livemessage-routing-key',
  attempts: 'x-livemessage-attempts',
  /** In milliseconds since 1970. */
  time: 'x-livemessage-time',
  /** The original's user id: the broker would compare it with ours. */
  user: 'x-livemessage-user',
} as const

/** What the broker writes there itself. A replay without them begins its count of deliveries anew. */
const BROKERS = /^x-(death|delivery-count|acquired-count|(first|last)-death-.*)$/

const OURS: ReadonlySet<string> = new Set(Object.values(DEAD_HEADERS))

/** Whether the header came with the death, and was none of the original's. */
export function isDeadHeader(name: string): boolean {
  return OURS.has(name) || BROKERS.test(name)
}
