import type { Bus, Memo } from '../../bus/bus.ts'
import type { Log } from '../../ops/log.ts'
import type { Book, Entry } from './entry.ts'
import { decodePresence, encodePresence, type Line, type PresenceMemo } from './memos.ts'
import type { Rooms } from './rooms.ts'
import { Peer } from './peer.ts'
import { Transfer } from './transfer.ts'

export interface ReplicationDependencies {
  readonly bus: Pick<Bus, 'node' | 'peers' | 'send'>
  readonly rooms: Rooms
  readonly log: Log
  /** Entries that are kept of one other node, at the most. */
  maxEntries(): number
  /** What came and is none of ours, or can't be kept. */
  onTrouble(reason: string): void
  /** How long changes are gathered before they leave. @default 5 */
  readonly batchMs?: number
  /** How often each node says what it has. @default 5000 */
  readonly digestMs?: number
  /** How long a page of what a node has may take to come. @default 5000 */
  readonly pageMs?: number
}

export const TOPIC = 'presence'

/** One memo's lines: some fit into one NOTIFY. */
const MEMO_UNITS = 7_000
/** Beyond, the others are left to ask for everything. */
const MAX_WAITING = 50_000
/** Answers to several who asked at once are one. */
const DIGEST_SOON_MS = 20
/** Nodes that are told everything at once; others ask again. */
const MAX_TRANSFERS = 8
/** Between two pages, whoever they are for. */
const PAGE_PAUSE_MS = 5
/** Nobody asks sooner again. */
const MIN_ASK_MS = 100

/**
 * Tells the other nodes who is here, and knows who is there. The bus loses letters at worst: changes are numbered, each
 * node says now and then what its entries add up to, and who finds that it has something else asks for all.
 */
export class Replication {
  /** This node's own entries. */
  readonly own: Book
  /** Times that a node's entries were asked for anew. */
  resyncs = 0
  readonly #deps: Required<ReplicationDependencies>
  readonly #peers = new Map<string, Peer>()
  readonly #transfers = new Map<string, Transfer>()
  readonly #askedAt = new Map<string, number>()
  #number = 0
  #waiting: Line[] = []
  #flush: NodeJS.Timeout | null = null
  #digest: NodeJS.Timeout | null = null
  #digests: NodeJS.Timeout | null = null
  #stopped = false

  constructor(deps: ReplicationDependencies) {
    this.#deps = { batchMs: 5, digestMs: 5_000, pageMs: 5_000, ...deps }
    this.own = { node: deps.bus.node, count: 0, sum: 0 }
  }

  start(): void {
    this.#digests ??= setInterval(() => this.#sayDigest(), this.#deps.digestMs).unref()
  }

  /** Idempotent. What was said last has to leave before the bus does. */
  stop(): void {
    this.#send()
    this.#stopped = true
    for (const timer of [this.#flush, this.#digest, this.#digests]) if (timer !== null) clearTimeout(timer)
    for (const transfer of this.#transfers.values()) transfer.stop()
    for (const peer of this.#peers.values()) peer.stop()
  }

  /** An entry of this node came or changed. */
  entered(channel: string, { session, user, info }: Entry): void {
    this.#queue([channel, session, user, info])
  }

  left(channel: string, session: string): void {
    this.#queue([channel, session])
  }

  onMemo({ topic, body }: Memo, from: string): void {
    if (topic !== TOPIC || this.#stopped) return
    const memo = decodePresence(body)
    if (memo === null) return this.#deps.onTrouble('no memo of presence')
    switch (memo.kind) {
      case 'changes':
        return this.#peer(from).changes(memo.number, memo.lines)
      case 'digest':
        return this.#peer(from).digest(memo.number, memo.count, memo.sum)
      case 'page':
        return this.#peer(from).page(memo)
      case 'query':
        return this.#digestSoon()
      case 'ask':
        return this.#answer(from, memo.id)
      default:
        return memo satisfies never
    }
  }

  onPeer(node: string, here: boolean): void {
    if (this.#stopped) return
    if (here) {
      this.#peers.get(node)?.back()
      // It has nothing of us.
      return this.#digestSoon()
    }
    this.#transfers.get(node)?.stop()
    this.#transfers.delete(node)
    this.#askedAt.delete(node)
    this.#peers.get(node)?.gone(() => this.#peers.delete(node))
  }

  /** Something may be missing, nobody knows of whom. */
  onGap(): void {
    this.#say({ kind: 'query' })
  }

  #peer(node: string): Peer {
    const known = this.#peers.get(node)
    if (known !== undefined) return known
    const { rooms, log, maxEntries, onTrouble, pageMs } = this.#deps
    const peer = new Peer({
      node,
      rooms,
      log,
      pageMs,
      maxEntries,
      onTrouble,
      ask: (id) => {
        this.resyncs++
        this.#say({ kind: 'ask', id }, node)
      },
    })
    this.#peers.set(node, peer)
    return peer
  }

  #answer(to: string, id: number): void {
    const now = performance.now()
    if (now - (this.#askedAt.get(to) ?? -Infinity) < MIN_ASK_MS)
      return this.#deps.onTrouble('asked too often')
    const before = this.#transfers.get(to)
    if (before === undefined && this.#transfers.size >= MAX_TRANSFERS) return
    this.#askedAt.set(to, now)
    before?.stop()
    const transfer: Transfer = new Transfer({
      rooms: this.#deps.rooms,
      own: this.own,
      pauseMs: () => PAGE_PAUSE_MS * this.#transfers.size,
      send: (page, lines, last) => {
        // What came before this page was made must be with them before it.
        this.#send()
        this.#say({ kind: 'page', id, page, number: this.#number, lines, last }, to)
        if (last && this.#transfers.get(to) === transfer) this.#transfers.delete(to)
      },
    })
    this.#transfers.set(to, transfer)
    transfer.start()
  }

  #queue(line: Line): void {
    this.#waiting.push(line)
    this.#flush ??= setTimeout(() => this.#send(), this.#deps.batchMs).unref()
  }

  /** What has changed leaves; where nobody hears it, only its number counts. */
  #send(): void {
    if (this.#flush !== null) clearTimeout(this.#flush)
    this.#flush = null
    const lines = this.#waiting
    if (lines.length === 0) return
    this.#waiting = []
    if (this.#deps.bus.peers.size === 0 || lines.length > MAX_WAITING) {
      // A number left out: who comes later, or missed it, sees that it did.
      this.#number += 2
      return
    }
    let some: Line[] = []
    let units = 0
    for (const line of lines) {
      const size = unitsOf(line)
      if (some.length > 0 && units + size > MEMO_UNITS) {
        this.#sayChanges(some)
        some = []
        units = 0
      }
      some.push(line)
      units += size
    }
    this.#sayChanges(some)
  }

  #sayChanges(lines: readonly Line[]): void {
    this.#say({ kind: 'changes', number: ++this.#number, lines })
  }

  #digestSoon(): void {
    this.#digest ??= setTimeout(() => {
      this.#digest = null
      this.#sayDigest()
    }, DIGEST_SOON_MS).unref()
  }

  #sayDigest(): void {
    // Where nothing ever was there is nothing to compare.
    if (this.#number === 0 && this.#waiting.length === 0) return
    this.#send()
    const { count, sum } = this.own
    this.#say({ kind: 'digest', number: this.#number, count, sum })
  }

  #say(memo: PresenceMemo, to?: string): void {
    if (this.#stopped) return
    const letter = { kind: 'memo', topic: TOPIC, body: encodePresence(memo) } as const
    this.#deps.bus.send(to === undefined ? letter : { ...letter, to })
  }
}

export function unitsOf([channel, session, user, info]: Line): number {
  return channel.length + session.length + (user?.length ?? 4) + (info?.length ?? 0) + 16
}
