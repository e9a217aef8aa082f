/** What is known of what a client emitted beside its arguments. */
export interface Origin {
  /** The event wants an answer to this id. */
  readonly ackId?: number | undefined
  /** It is the answer to the event of this id: all of it is arguments. */
  readonly answers?: number
  readonly bytes: number
}

const ORIGIN = Symbol('origin')

/** Where an event's array of name and arguments comes from. */
export function originOf(event: object): Origin | undefined {
  return (event as { [ORIGIN]?: Origin })[ORIGIN]
}

export function noteOrigin(event: object, origin: Origin): void {
  Object.defineProperty(event, ORIGIN, { value: origin })
}
