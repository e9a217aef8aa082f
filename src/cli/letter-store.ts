import type { DeadLetter, LetterFilter } from '../dead-letter.ts'
import type { Database } from '../registry/define.ts'

/** A letter where it is kept. */
export interface KeptLetter extends DeadLetter {
  /** As the commands take it. */
  readonly id: string
  /** Of the body. */
  readonly bytes: number
}

/** Which letters a command is about. */
export type Selection = { readonly ids: readonly string[] } | { readonly filter: LetterFilter }

export interface Listing {
  /** Without their bodies. */
  readonly letters: readonly KeptLetter[]
  /** How many the filter lets through. */
  readonly total: number
  /** What the reader should know, if there is something. */
  readonly note: string | null
}

/** What is done with a letter before it goes; `db` is the transaction that deletes it, where there is one. */
export type Work = (letter: KeptLetter, db: Database | null) => Promise<string>

/** What became of a letter: what was done, or why it stays. */
export type Outcome = { readonly letter: KeptLetter } & (
  { readonly done: string } | { readonly stays: string }
)

/** Where dead letters are kept. */
export interface LetterStore {
  /** As people read it: 'table livemessage.dead'. */
  readonly place: string
  list(filter: LetterFilter, limit: number): Promise<Listing>
  /** @throws {LivemessageError} LETTER_NOT_FOUND */
  find(id: string): Promise<KeptLetter>
  /**
   * Does the work for each letter, oldest first, and takes it away when it is done. A letter whose work throws `Stays`
   * stays, and the others go on; anything else ends it, and what was not done stays.
   * @throws {LivemessageError} LETTER_NOT_FOUND before anything is done, where an id is none
   */
  settle(selection: Selection, work: Work): AsyncIterable<Outcome>
  close(): Promise<void>
}

/** Why this letter can't be replayed; others may. */
export class Stays extends Error {}
