import { writeJson } from './json.ts'

/** The arguments of an event: as values or as JSON text, each made of the other when it is first asked for. */
export class Args {
  #values: readonly unknown[] | null
  #json: string | null

  private constructor(values: readonly unknown[] | null, json: string | null) {
    this.#values = values
    this.#json = json
  }

  static of(values: readonly unknown[]): Args {
    return new Args(values, null)
  }

  /** @param json the text of a JSON array */
  static ofJson(json: string): Args {
    return new Args(null, json)
  }

  get values(): readonly unknown[] {
    return (this.#values ??= JSON.parse(this.#json!) as readonly unknown[])
  }

  /** @throws {TypeError} where JSON can't carry them */
  get json(): string {
    return (this.#json ??= writeJson(this.#values))
  }
}
