/** What can't be handled, with the reason, and with all that a replay needs. */
export interface DeadLetter {
  /** Given when the letter was made: it is kept once, however often it arrives. Null where nobody gave one. */
  readonly key: string | null
  /** When it died, in milliseconds since 1970; null: now. */
  readonly time: number | null
  /** `amqp`, `postgres`, `postgres:<database>`, … */
  readonly source: string
  /** The routing key, the NOTIFY name, or the trigger's. */
  readonly name: string | null
  readonly channel: string | null
  readonly subsystem: string | null
  readonly code: string
  readonly reason: string
  /** Attempts that failed. */
  readonly attempts: number
  /** What came, as it came. */
  readonly body: string | Buffer | null
  /** In a form that JSON has. */
  readonly headers: Readonly<Record<string, unknown>> | null
  /** What else a message has, e.g. `exchange` and `messageId`. */
  readonly properties: Readonly<Record<string, unknown>> | null
  /** The database that a NOTIFY was heard in. */
  readonly database: string | null
}

/** Which letters. */
export interface LetterFilter {
  readonly source?: string
  readonly subsystem?: string
  readonly code?: string
}

export function isWanted(letter: DeadLetter, { source, subsystem, code }: LetterFilter): boolean {
  return (
    (source === undefined || letter.source === source) &&
    (subsystem === undefined || letter.subsystem === subsystem) &&
    (code === undefined || letter.code === code)
  )
}
