import type { SignalTargetConfig } from '../config/signals-config.ts'
import { drain } from '../drain.ts'
import type { Client } from '../hub/client.ts'
import type { Counts } from '../ops/counts.ts'
import { restOf, subsystemOf } from '../protocol/names.ts'
import { tryWriteJson } from '../protocol/json.ts'
import type { UnsubscribeEvent } from '../registry/define.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import { VERSION } from '../version.ts'
import type { Entry, Op, Row } from './batch.ts'
import { HOOKS_TARGET } from './module-hooks.ts'
import { MAX_DATA, type RosterDetail, type SessionDetail, type Signal, writeSignal } from './signal.ts'
import type { Departure, SignalSink } from './sink.ts'
import { routeOf, type Wants, wantsOf } from './wants.ts'

export interface SignalsOptions {
  readonly live: Live
  readonly node: string
  readonly targets: readonly SignalTargetConfig[]
  /** Whether what happens is noted in a database that all nodes have in common. */
  readonly hasDatabase: boolean
  readonly services: () => Services
  readonly counts: Counts
  /** This node's clients. */
  clients(): Iterable<Client>
  /** Whether the client is connected, as far as the hub knows. */
  isHere(client: Client): boolean
  /** Something happened: to be noted, or to be told at once. */
  add(op: Op): void
  /** Somebody wants to hear something: what notes and tells is to run. */
  begin(): void
}

type Told = Omit<Signal, 'id' | 'time' | 'node'> & { readonly time?: number; readonly info?: unknown }

/** Makes signals of what happens at this node to connections and channels. What nobody wants costs one look. */
export class Signals implements SignalSink {
  readonly #options: SignalsOptions
  readonly #entries = new Map<string, Entry>()
  /** How many of this node are on each channel. */
  readonly #occupants = new Map<string, number>()
  readonly #running = new Set<Promise<void>>()
  #wants: Wants
  #lastId = 0

  constructor(options: SignalsOptions) {
    this.#options = options
    this.#wants = NOTHING
  }

  /** Everything listens. */
  listening(): void {
    this.#tell({ name: 'start', version: VERSION })
  }

  /** The modules were swapped: who is here already is known to those who begin to listen. */
  apply(): void {
    const { live, targets, hasDatabase, clients } = this.#options
    const before = this.#wants
    const now = wantsOf(targets, live.rules.registry, hasDatabase)
    this.#wants = now
    if (now.any) this.#options.begin()
    if (now.connections && !before.connections) this.#enterAll()
    else if (now.roster && !before.roster)
      for (const entry of this.#entries.values()) this.#add({ rows: [], entry })
    if (before.roster && !now.roster) {
      for (const entry of this.#entries.values()) this.#add({ rows: [], entry, ends: true })
    }
    if (!now.connections) this.#entries.clear()
    if (now.occupancy === before.occupancy) return
    if (!now.occupancy) for (const channel of [...this.#occupants.keys()]) this.#vacate(channel, true)
    else {
      for (const client of clients()) {
        if (client.link.fleeting !== true)
          for (const channel of client.subscriptions.keys()) this.#occupy(channel)
      }
    }
  }

  connected(client: Client): void {
    if (!this.#wants.connections || client.link.fleeting === true) return
    const entry = this.#entries.get(client.session) ?? this.#enter(client)
    entry.letIn = true
    this.#tell({ name: 'connect', ...detailOf(client) }, { entry })
    // Modules may have put it there while they let it in; if it has gone meanwhile, it is on nothing any more.
    if (!this.#options.isHere(client)) return
    for (const channel of client.subscriptions.keys()) this.#subscribed(entry, channel)
  }

  disconnected(client: Client, { code, reason, time }: Departure): void {
    const entry = this.#entries.get(client.session)
    if (entry === undefined) return
    if (entry.hooks !== null) {
      const late = (): void => this.disconnected(client, { code, reason, time })
      this.#track(entry.hooks.then(late))
      return
    }
    this.#entries.delete(client.session)
    if (!this.#wants.connections) return
    const durationMs = Math.max(0, time - client.since)
    this.#tell(
      { name: 'disconnect', ...detailOf(client), time, code, reason, durationMs },
      { entry, ends: true },
    )
  }

  refused(client: Client): void {
    const entry = this.#entries.get(client.session)
    // A reload may have found it while it was being let in.
    if (entry === undefined || !this.#entries.delete(client.session)) return
    if (this.#wants.roster) this.#add({ rows: [], entry, ends: true })
  }

  joined(client: Client, channel: string): void {
    if (this.#wants.occupancy) this.#occupy(channel)
    if (!this.#wants.connections) return
    const entry = this.#entries.get(client.session)
    // Who is not let in yet is told of with its `connect`.
    if (entry?.letIn === true) this.#subscribed(entry, channel)
  }

  left(client: Client, channel: string): void {
    const { live, isHere } = this.#options
    if (this.#wants.occupancy) this.#vacate(channel)
    const hook = live.rules.registry.unsubscribe.get(subsystemOf(channel))
    const entry = this.#wants.connections ? this.#entries.get(client.session) : undefined
    if (hook === undefined && entry?.letIn !== true) return
    const time = Date.now()
    const reason = isHere(client) ? 'unsubscribed' : 'disconnected'
    const tell = (): void => {
      if (entry?.letIn !== true) return
      const subsystem = subsystemOf(channel)
      this.#tell({ name: 'unsubscribe', ...detailOf(client), time, channel, subsystem, reason }, { entry })
    }
    if (hook === undefined && entry?.hooks == null) return tell()
    // After those before it, and before its own signal: dies the process meanwhile, another node tells the hook again.
    const before = entry?.hooks ?? Promise.resolve()
    const run = before.then(() => this.#runHook(client, channel, reason)).then(tell)
    if (entry !== undefined) {
      const hooks = run.finally(() => {
        if (entry.hooks === hooks) entry.hooks = null
      })
      entry.hooks = hooks
    }
    this.#track(entry?.hooks ?? run)
  }

  identified(client: Client): void {
    if (!this.#wants.roster) return
    const entry = this.#entries.get(client.session)
    if (entry?.letIn === true) this.#add({ rows: [], entry })
  }

  called(client: Client | null, user: string | null, action: string, data: unknown): void {
    if (!this.#wants.calls) return
    const [subsystem = ''] = action.split('.', 1)
    const who = client === null ? { user } : detailOf(client)
    this.#tell({ name: 'call', ...who, subsystem, action, ...bounded('data', data) })
  }

  said(
    client: Client | null,
    user: string | null,
    frame: { readonly type: string; readonly channel?: unknown },
  ): void {
    if (!this.#wants.messages) return
    const who = client === null ? { user } : detailOf(client)
    const channel = typeof frame.channel === 'string' ? { subsystem: subsystemOf(frame.channel) } : {}
    // Tokens are nobody else's.
    const told = frame.type === 'authenticate' ? { type: frame.type } : frame
    this.#tell({ name: 'message', ...who, ...channel, ...bounded('frame', told) })
  }

  /** Waits for the hooks that are running, but no longer than the deadline. */
  settle(deadlineMs: number): Promise<void> {
    return drain(this.#running, deadlineMs)
  }

  /** What another node's leader is to tell of a connection that ended with its node. */
  endOf(detail: RosterDetail, channels: readonly string[]): readonly Row[] {
    const { info, ...session } = detail
    const time = Date.now()
    const why = { reason: 'node lost', time }
    const rows = channels.flatMap((channel) => {
      const subsystem = subsystemOf(channel)
      return this.#rowsOf({ name: 'unsubscribe', ...session, subsystem, channel, ...why, info }, true)
    })
    const durationMs = Math.max(0, time - session.since)
    rows.push(...this.#rowsOf({ name: 'disconnect', ...session, code: 1006, ...why, durationMs, info }, true))
    return rows
  }

  vacatedOf(channel: string): readonly Row[] {
    return this.#rowsOf({ name: 'vacated', subsystem: subsystemOf(channel), channel })
  }

  /**
   * The others told that all who were noted had ended: what is still to be told, and who is here, from the beginning.
   * The first `doubtful` ops may have been noted.
   */
  anew(unnoted: readonly Op[], doubtful = 0): readonly Op[] {
    // Who may have been noted, and been told to have ended, comes again: a `connect` of its own, for whoever knows the ids
    // of the first. But not who has ended within the same batch: all of that was noted, or nothing.
    const again = new Set<Entry>()
    for (const { entry, ends } of unnoted.slice(0, doubtful)) {
      if (entry === undefined) continue
      if (ends === true) again.delete(entry)
      else if (!entry.noted) again.add(entry)
    }
    const ops: Op[] = unnoted
      // What was said of those whose end was told is void, their real end too; calls and the like are not theirs.
      .filter((op) => op.entry?.noted !== true && op.move === undefined)
      .map((op) => (op.entry !== undefined && again.has(op.entry) ? this.#renamed(op) : op))
    const add = this.#add
    this.#add = (op) => void ops.push(op)
    try {
      for (const entry of this.#entries.values()) {
        if (!entry.letIn || !entry.noted) continue
        entry.noted = false
        this.#tell({ name: 'connect', ...detailOf(entry.client) }, { entry })
        for (const channel of entry.client.subscriptions.keys()) this.#subscribed(entry, channel)
      }
      for (const channel of this.#occupants.keys()) this.#move(channel, true)
    } finally {
      this.#add = add
    }
    return ops
  }

  #add = (op: Op): void => this.#options.add(op)

  /** The same as another signal. */
  #renamed(op: Op): Op {
    const id = this.#nextId()
    const rows = op.rows.map(({ target, body }) => {
      const signal: object = JSON.parse(body)
      return { target, body: writeSignal({ ...signal, id }) }
    })
    return { ...op, rows }
  }

  #nextId(): string {
    return `${this.#options.node}-${(++this.#lastId).toString(36)}`
  }

  #enter(client: Client): Entry {
    const entry: Entry = { client, letIn: false, noted: false, hooks: null }
    this.#entries.set(client.session, entry)
    return entry
  }

  #enterAll(): void {
    for (const client of this.#options.clients()) {
      if (client.link.fleeting === true || this.#entries.has(client.session)) continue
      const entry = this.#enter(client)
      entry.letIn = true
      if (this.#wants.roster) this.#add({ rows: [], entry })
    }
  }

  #subscribed(entry: Entry, channel: string): void {
    const subsystem = subsystemOf(channel)
    this.#tell({ name: 'subscribe', ...detailOf(entry.client), channel, subsystem }, { entry })
  }

  #occupy(channel: string): void {
    const count = (this.#occupants.get(channel) ?? 0) + 1
    this.#occupants.set(channel, count)
    if (count === 1) this.#move(channel, true)
  }

  #vacate(channel: string, all = false): void {
    const count = all ? 0 : (this.#occupants.get(channel) ?? 0) - 1
    if (count > 0) return void this.#occupants.set(channel, count)
    if (this.#occupants.delete(channel)) this.#move(channel, false)
  }

  #move(channel: string, up: boolean): void {
    const name = up ? 'occupied' : 'vacated'
    this.#add({
      rows: this.#rowsOf({ name, subsystem: subsystemOf(channel), channel }),
      move: { channel, up },
    })
  }

  #tell(told: Told, of: Pick<Op, 'entry' | 'ends'> = {}): void {
    const rows = this.#rowsOf(told)
    if (this.#wants.roster && of.entry !== undefined) this.#add({ rows, ...of })
    else if (rows.length > 0) this.#add({ rows })
  }

  #rowsOf({ info, ...told }: Told, lost = false): Row[] {
    const { targets, live, node } = this.#options
    const names = routeOf(targets, live.rules.registry, { name: told.name, subsystem: told.subsystem, lost })
    if (names.length === 0) return []
    const signal = { id: this.#nextId(), time: Date.now(), node, ...told }
    const body = writeSignal(signal)
    return names.map((target) => ({
      target,
      // What the application knows of a user is for its own modules.
      body: target === HOOKS_TARGET && info !== undefined ? writeSignal({ ...signal, info }) : body,
    }))
  }

  async #runHook(client: Client, channel: string, reason: UnsubscribeEvent['reason']): Promise<void> {
    const { live, services, counts } = this.#options
    const { registry, config } = live.rules
    const subsystem = subsystemOf(channel)
    const hook = registry.unsubscribe.get(subsystem)
    if (hook === undefined) return
    const call = { place: `${subsystem}.unsubscribe`, connection: client, deadlineMs: config.limits.callMs }
    try {
      await runHook(call, services(), (run) =>
        hook({ channel, subsystem, rest: restOf(channel), reason }, run),
      )
    } catch {
      // Logged where hooks are run.
      counts.error('hook', 'unsubscribe')
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked))
    this.#running.add(tracked)
  }
}

const NOTHING: Wants = {
  connections: false,
  roster: false,
  occupancy: false,
  calls: false,
  messages: false,
  any: false,
}

function detailOf({ session, user, database, address, transport, since }: Client): SessionDetail {
  return { session, user, database, address, transport, since }
}

/** What a client sent, as far as it is not too much. */
function bounded(key: 'data' | 'frame', value: unknown): Pick<Signal, 'data' | 'frame' | 'truncated'> {
  const json = tryWriteJson(value)
  return json === undefined || json.length > MAX_DATA ? { truncated: true } : { [key]: value }
}
