import type { MaybePromise } from '../sources/source.ts'

/** What is not journaled: a transient publication, encoded. */
export interface Parcel {
  readonly channel: string
  /** The message object as JSON text. */
  readonly message: string
  /** A session that is not to get it. */
  readonly exclude?: string
}

/**
 * Carries between nodes that which is not journaled. Delivery semantics: at most once, in each publisher's
 * order, to every node, the sending one included.
 */
export interface Bus {
  readonly kind: 'memory' | 'postgres' | 'rabbitmq'
  readonly ready: boolean
  start(handlers: BusHandlers): MaybePromise<void>
  send(parcel: Parcel): void
  stop(): MaybePromise<void>
}

export interface BusHandlers {
  onParcel(parcel: Parcel): void
}
