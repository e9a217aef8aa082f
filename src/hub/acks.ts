import type { Args } from '../protocol/args.ts'
import { isClientError } from '../protocol/codes.ts'
import { tryWriteJson } from '../protocol/json.ts'
import type { Client } from './client.ts'
import type { Acknowledgement, AskedListing } from './cluster-orders.ts'

/** One event to many clients, and their answers: as many as the bounds allow are kept, all are counted. */
export class AckRound {
  readonly #limit: number
  readonly #maxUnits: number
  readonly #acks: Acknowledgement[] = []
  readonly #forget = new Set<() => void>()
  readonly #deadline: NodeJS.Timeout
  #sent = 0
  #answered = 0
  #units = 0
  #waiting = 0
  #over = false
  #ended: (() => void) | null = null

  constructor(limit: number, maxUnits: number, timeoutMs: number) {
    this.#limit = limit
    this.#maxUnits = maxUnits
    this.#deadline = setTimeout(() => this.#finish(), timeoutMs)
  }

  /** Asks one more. Whose answers are waited for too often already is not sent to. */
  ask(client: Client, event: string, args: Args): void {
    if (this.#over) return
    let forget: (() => void) | null = null
    const settle = (): void => {
      if (forget !== null) this.#forget.delete(forget)
      this.#waiting--
      this.#check()
    }
    try {
      forget = client.ask(event, args, {
        acknowledged: (answer) => {
          this.#note(client, answer)
          settle()
        },
        gone: settle,
      })
    } catch (error) {
      if (!isClientError(error)) throw error
      return
    }
    if (forget === null) return
    this.#sent++
    this.#waiting++
    this.#forget.add(forget)
  }

  /** Nobody more is asked: resolves when all have answered or gone, or the time is over. */
  end(): Promise<AskedListing> {
    return new Promise((resolve) => {
      this.#ended = () => resolve({ items: this.#acks, count: this.#answered, sent: this.#sent })
      this.#check()
    })
  }

  #note(client: Client, args: readonly unknown[]): void {
    this.#answered++
    if (this.#acks.length >= this.#limit || this.#units > this.#maxUnits) return
    const { session, user } = client
    const ack = { session, user, args }
    this.#units += tryWriteJson(ack)?.length ?? this.#maxUnits
    if (this.#units <= this.#maxUnits) this.#acks.push(ack)
  }

  #check(): void {
    if (this.#over) this.#ended?.()
    else if (this.#waiting === 0 && this.#ended !== null) this.#finish()
  }

  #finish(): void {
    this.#over = true
    clearTimeout(this.#deadline)
    for (const forget of this.#forget) forget()
    this.#forget.clear()
    this.#ended?.()
  }
}
