import { PgListener, type PgListenerOptions } from './pg-listener.ts'

/** Somebody who hears NOTIFYs on the shared connection. */
export interface Party {
  /** Every NOTIFY of these names, in the order of commits. */
  onNotify(name: string, payload: string, pid: number): void
  /** Its names are listened to. `again`: there was a time without, and notifications may be missing. */
  onUp(again: boolean): void
  /** The connection was lost, or an attempt failed. */
  onDown(reason: string): void
}

/** One's place on the shared connection. */
export interface Seat {
  /** Listens to other names. Resolves when it is so, or will be on the next connection. */
  setNames(names: Iterable<string>): Promise<void>
  /** Nothing comes any more. */
  leave(): Promise<void>
}

/**
 * The one LISTEN connection of a node to a database: the source, the journal's tail and the bus share it, so that
 * they see all NOTIFYs in one order. Who joins hears from the next connection on, or, where there is one, as soon as
 * its names are listened to.
 */
export class Notifications {
  readonly #listener: PgListener
  readonly #seats = new Map<Party, Set<string>>()
  /** Who hears each name, as arrays: read for every NOTIFY. */
  readonly #hearers = new Map<string, Party[]>()
  #up = false
  #starting: Promise<void> | null = null

  constructor(options: PgListenerOptions) {
    this.#listener = new PgListener([], options)
  }

  /** Takes a seat, before or after the start. */
  join(names: Iterable<string>, party: Party): Seat {
    const seat: Seat = {
      setNames: async (wanted) => {
        this.#seats.set(party, new Set(wanted))
        await this.#sync()
      },
      leave: async () => {
        this.#seats.delete(party)
        await this.#sync()
      },
    }
    this.#seats.set(party, new Set(names))
    const synced = this.#sync()
    // Before the first connection nobody is told: `onUp` comes with it.
    if (this.#up) {
      void synced.then(() => {
        if (this.#up && this.#seats.has(party)) party.onUp(false)
      })
    }
    return seat
  }

  /** Resolves after the first attempt, whatever came of it. Idempotent. */
  start(): Promise<void> {
    return (this.#starting ??= this.#listener.start({
      onNotify: (name, payload, pid) => {
        for (const party of this.#hearers.get(name) ?? []) party.onNotify(name, payload, pid)
      },
      onUp: (again) => {
        this.#up = true
        for (const party of this.#seats.keys()) party.onUp(again)
      },
      onDown: (reason) => {
        this.#up = false
        for (const party of this.#seats.keys()) party.onDown(reason)
      },
    }))
  }

  /** Idempotent; nothing comes afterwards. */
  stop(): Promise<void> {
    return this.#listener.stop()
  }

  #sync(): Promise<void> {
    this.#hearers.clear()
    for (const [party, names] of this.#seats) {
      for (const name of names) this.#hearers.set(name, [...(this.#hearers.get(name) ?? []), party])
    }
    return this.#listener.setNames(this.#hearers.keys())
  }
}
