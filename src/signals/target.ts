/** A signal on its way to one target. */
export interface Waiting {
  /** Its place in the queue. */
  readonly key: string
  /** JSON. */
  readonly body: string
}

/** What a target made of some signals. */
export type Verdict =
  | { readonly taken: true }
  | {
      readonly taken: false
      /** For the log. */
      readonly reason: string
      /** Asked for by the target: not before so many ms. */
      readonly afterMs?: number
      /** There were too many of them in one. */
      readonly tooLarge?: boolean
    }

/** Who is told. */
export interface SignalTarget {
  readonly name: string
  start(): void
  /** Tells some, in their order. All were taken, or none may have been. Rejects only with the signal's abort. */
  deliver(waiting: readonly Waiting[], signal: AbortSignal): Promise<Verdict>
  /** Idempotent. */
  stop(): Promise<void>
}
