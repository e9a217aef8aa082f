/** One step of a schema. Its SQL may hold several statements; it runs once, in a transaction. */
export interface Migration {
  /** From 1, without gaps. */
  readonly version: number
  readonly name: string
  readonly sql: string
}

/** The schema of one part of the daemon, or of a subsystem. */
export interface Migrations {
  readonly component: string
  readonly migrations: readonly Migration[]
}
