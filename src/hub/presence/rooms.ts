import { setImmediate as nextTurn } from 'node:timers/promises'
import type { PresencePolicy } from '../../config/config.ts'
import { type Book, type Entry, enterInto, strikeFrom } from './entry.ts'
import { type Change, Room } from './room.ts'

export interface RoomsDependencies {
  /** Null where presence is not kept, at present. */
  policyOf(channel: string): PresencePolicy | null
  /** Somebody came or went; `room` is as it is now. */
  onChange(channel: string, room: Room, change: Change, entry: Entry): void
}

/** What became of an entry that was put into its room. */
export type Put = 'new' | 'changed' | 'same' | 'foreign'

/** So many leave in one turn of the event loop. */
const SLICE = 1000

/** Everybody who is on a channel somewhere, by channel. */
export class Rooms {
  readonly #deps: RoomsDependencies
  readonly #rooms = new Map<string, Room>()

  constructor(deps: RoomsDependencies) {
    this.#deps = deps
  }

  get size(): number {
    return this.#rooms.size
  }

  [Symbol.iterator](): Iterator<[string, Room]> {
    return this.#rooms.entries()
  }

  get(channel: string): Room | undefined {
    return this.#rooms.get(channel)
  }

  /** `foreign`: another node has a session of this name, and keeps it. Unless `silent`, the change is told. */
  put(channel: string, entry: Entry, silent = false): Put {
    const room = this.#rooms.get(channel) ?? this.#open(channel)
    const before = room.get(entry.session)
    if (before === undefined) {
      enterInto(entry.book, channel, entry)
      if (room.add(entry) && !silent) this.#deps.onChange(channel, room, 'join', entry)
      return 'new'
    }
    if (before.book !== entry.book) return 'foreign'
    if (before.user === entry.user && before.info === entry.info) {
      before.round = entry.round
      return 'same'
    }
    strikeFrom(before.book, channel, before)
    enterInto(entry.book, channel, entry)
    if (room.replace(before, entry)) {
      // It has not gone, it is known by another name: no grace.
      if (room.delete(before, 0, NOTHING) && !silent) this.#deps.onChange(channel, room, 'leave', before)
      if (room.add(entry) && !silent) this.#deps.onChange(channel, room, 'join', entry)
    }
    return 'changed'
  }

  /** False where the book has no such entry. */
  delete(channel: string, session: string, book: Book, silent = false): boolean {
    const room = this.#rooms.get(channel)
    const entry = room?.get(session)
    if (room === undefined || entry === undefined || entry.book !== book) return false
    strikeFrom(book, channel, entry)
    const left = (): void => {
      this.#deps.onChange(channel, room, 'leave', entry)
      this.#close(channel, room)
    }
    const afterMs = silent ? 0 : (this.#deps.policyOf(channel)?.leaveAfterMs ?? 0)
    if (room.delete(entry, afterMs, left) && !silent) left()
    else this.#close(channel, room)
    return true
  }

  /** Removes what is stale of a book, a slice a turn, as long as it is when its turn comes. */
  async sweep(book: Book, isStale: (entry: Entry) => boolean): Promise<void> {
    const stale: [string, Entry][] = []
    for (const [channel, room] of this.#rooms) {
      for (const entry of room.entries()) {
        if (entry.book === book && isStale(entry)) stale.push([channel, entry])
      }
    }
    for (const [index, [channel, entry]] of stale.entries()) {
      if (index > 0 && index % SLICE === 0) await nextTurn()
      const there = this.#rooms.get(channel)?.get(entry.session) === entry
      if (there && isStale(entry)) this.delete(channel, entry.session, book)
    }
  }

  /** Brings the rooms into line with policies that were swapped. */
  recount(): void {
    for (const [channel, room] of this.#rooms) {
      const by = this.#deps.policyOf(channel)?.by ?? 'session'
      if (by !== room.by) room.recount(by)
      this.#close(channel, room)
    }
  }

  /** Nobody is waited for any more. */
  stop(): void {
    for (const room of this.#rooms.values()) room.forget()
  }

  #open(channel: string): Room {
    const room = new Room(this.#deps.policyOf(channel)?.by ?? 'session')
    this.#rooms.set(channel, room)
    return room
  }

  #close(channel: string, room: Room): void {
    if (room.empty && this.#rooms.get(channel) === room) this.#rooms.delete(channel)
  }
}

const NOTHING = (): void => undefined
