import type { Bus, BusCounts, BusHandlers, Memo, Parcel } from './bus.ts'
import { newNodeName } from './node-name.ts'

/** The bus of a single node: what is sent has arrived. */
export class MemoryBus implements Bus {
  readonly kind = 'memory'
  readonly node = newNodeName()
  readonly peers: ReadonlySet<string> = new Set()
  readonly counts: BusCounts = { sent: 0, received: 0, dropped: 0, malformed: 0, gaps: 0 }
  #handlers: BusHandlers | null = null

  get ready(): boolean {
    return this.#handlers !== null
  }

  get reason(): string | null {
    return this.ready ? null : 'not started'
  }

  start(handlers: BusHandlers): void {
    this.#handlers = handlers
  }

  send(letter: Parcel | Memo): void {
    if (letter.kind === 'publication') this.#handlers?.onParcel(letter)
  }

  stop(): void {
    this.#handlers = null
  }
}
