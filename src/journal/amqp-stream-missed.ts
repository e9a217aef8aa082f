import type { Entry, Forgotten, JournalHandlers } from './journal.ts'

/** What was read while another ledger was the one that clients see: told when this one takes its place. */
export class Missed {
  #all: (Entry | Forgotten)[] = []

  add(entry: Entry): void {
    this.#all.push(entry)
  }

  forget(forgotten: Forgotten): void {
    this.#all = this.#all.filter((one) => !('position' in one) || !isForgotten(one, forgotten))
    this.#all.push(forgotten)
  }

  tell(handlers: JournalHandlers | null): void {
    for (const one of this.#all) {
      if ('position' in one) handlers?.onEntry(one)
      else handlers?.onForget?.(one)
    }
  }
}

function isForgotten({ channel, position }: Entry, forgotten: Forgotten): boolean {
  if (channel !== forgotten.channel) return false
  return forgotten.positions === null ? position <= forgotten.upTo : forgotten.positions.includes(position)
}
