/**
 * What this node has done, as plain numbers: a counter on the hot path is one addition. `/metrics` reads
 * them when it is asked.
 */
export class Counts {
  /** Publications taken, by source: `http`, `amqp`, `postgres`, `client`, `action`, … */
  readonly publications = new Map<string, number>()
  /** Frames of publications handed to sockets. */
  deliveries = 0
  /** Publications that were not taken again: their idempotency key was known. */
  duplicates = 0
  /** By HTTP, upgrades excepted. */
  requests = 0
  frames = 0
  calls = 0
  connectionsOpened = 0
  slowClients = 0
  droppedFrames = 0
  /** Messages of conflated channels that clients which were behind did not get, for a newer one of the key. */
  conflated = 0
  /** Times that a client was set aside from its conflated channels. */
  setAside = 0
  /** Mailbox cursors that clients moved, durably. */
  confirms = 0
  /** Events that asked their client for an answer, the answers, and those that nobody waits for any more. */
  acksWanted = 0
  acks = 0
  acksMissed = 0
  sourceGaps = 0
  /** Entries of the journal that this node handed on, whoever published them. */
  entries = 0
  reloads = 0
  reloadFailures = 0
  /** What was refused or failed, by `<place>.<code>`: `client.bad_frame`, `postgres.bad_payload`, … */
  readonly errors = new Map<string, number>()
  /** Seconds for which modules held up the event loop, by `<subsystem>.<key>`; `unknown` where none was caught at it. */
  readonly blocked = new Map<string, number>()
  /** Connections closed by the daemon, by close code. */
  readonly closes = new Map<number, number>()

  published(source: string): void {
    add(this.publications, source)
  }

  error(place: string, code: string): void {
    add(this.errors, `${place}.${code}`)
  }

  closed(code: number): void {
    add(this.closes, code)
  }
}

function add<Key>(counters: Map<Key, number>, key: Key): void {
  counters.set(key, (counters.get(key) ?? 0) + 1)
}
