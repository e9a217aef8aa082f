/** What is known of a client's event beside its arguments. */
export interface Origin {
  /** The event wants an answer to this id. */
  readonly ackId: number | undefined
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
