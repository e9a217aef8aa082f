import type { Source } from '../sources/source.ts'

/** One thing that the daemon needs to deliver. */
export interface Part {
  readonly name: string
  readonly state: string
  readonly ready: boolean
  /** Why not; told only to those who may use the API. */
  readonly reason: string | null
}

/** What nodes have in common. */
interface Link {
  readonly kind: string
  readonly ready: boolean
  readonly reason: string | null
}

export interface HealthDependencies {
  readonly sources: () => readonly Source[]
  readonly journal: Link
  readonly bus: Link
  readonly database: () => Part | null
  /** The other databases. @default there are none */
  readonly further?: () => readonly Part[]
}

/** Whether this node can really deliver: `/readyz`. */
export class Health {
  readonly #deps: HealthDependencies
  #phase: 'starting' | 'running' | 'draining' = 'starting'

  constructor(deps: HealthDependencies) {
    this.#deps = deps
  }

  get phase(): string {
    return this.#phase
  }

  set(phase: 'running' | 'draining'): void {
    this.#phase = phase
  }

  parts(): readonly Part[] {
    const { journal, bus } = this.#deps
    const database = this.#deps.database()
    return [
      { name: 'node', state: this.#phase, ready: this.#phase === 'running', reason: null },
      partOf('journal', journal),
      // Of a single node that has none it is not worth a word.
      ...(bus.kind === 'memory' ? [] : [partOf('bus', bus)]),
      ...(database === null ? [] : [database]),
      ...(this.#deps.further?.() ?? []),
      ...this.#deps.sources().map((source) => ({
        name: source.name,
        state: source.state,
        ready: source.state === 'up',
        reason: source.reason,
      })),
    ]
  }

  /**
   * `scope=node` is red only for what another node could do better, so that a database's restart does not
   * make a proxy refuse everyone.
   */
  check(scope: 'all' | 'node'): { readonly ready: boolean; readonly parts: readonly Part[] } {
    const parts = scope === 'node' ? this.parts().slice(0, 1) : this.parts()
    return { ready: parts.every((part) => part.ready), parts }
  }
}

function partOf(name: string, { kind, ready, reason }: Link): Part {
  return { name: `${name} ${kind}`, state: ready ? 'up' : 'down', ready, reason }
}
