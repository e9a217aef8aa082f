import type { Bus, BusHandlers, Parcel } from './bus.ts'

/** The bus of a single node: what is sent has arrived. */
export class MemoryBus implements Bus {
  readonly kind = 'memory'
  #handlers: BusHandlers | null = null

  get ready(): boolean {
    return this.#handlers !== null
  }

  start(handlers: BusHandlers): void {
    this.#handlers = handlers
  }

  send(parcel: Parcel): void {
    this.#handlers?.onParcel(parcel)
  }

  stop(): void {
    this.#handlers = null
  }
}
