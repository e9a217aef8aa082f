/**
 * What the daemon refused: the answer to a call, a subscription, a connection or a publication. `cause` is what
 * the log has of an `internal` one, whose reason clients are not told.
 */
export class CallError extends Error {
  /** As on the wire: `forbidden`, `invalid_input`, `unknown_action`, … */
  readonly code: string
  /** With `invalid_input`: the validator's issues. */
  readonly details: unknown

  constructor(answer: Readonly<Record<string, unknown>>, options?: ErrorOptions) {
    super(String(answer['message']), options)
    this.name = 'CallError'
    this.code = String(answer['code'])
    this.details = answer['details']
  }
}
