import type { MaybePromise } from '../sources/source.ts'
import type { Parting } from './outbox.ts'

/** Takes packets from node to node: the server's own part of a bus. Each node's packets come in their order, or not. */
export interface Carrier {
  readonly kind: 'postgres' | 'rabbitmq'
  /** Nobody but the nodes can make packets; anybody may be able to have one brought again. */
  readonly sealed: boolean
  /** Packets of this size are best. */
  readonly packetBytes: number
  /** And so many of them in one go. */
  readonly packetsAtOnce: number
  /** Resolves after the first attempt, whatever came of it; it goes on trying for ever. */
  start(handlers: CarrierHandlers): MaybePromise<void>
  /**
   * Sends packets to all nodes, to this one too if that is the server's way; one call at a time. Resolves when there
   * is room for more; rejects when some may be lost. Always settles.
   */
  write(packets: readonly Parting[]): Promise<void>
  stop(): Promise<void>
}

export interface CarrierHandlers {
  onPacket(text: string): void
  /** Packets come from now on. */
  onUp(): void
  /** The connection was lost, or an attempt failed. */
  onDown(reason: string): void
  /** Some packets of other nodes will not come. */
  onLost(reason: string): void
}
