import type { Bus, Memo } from '../bus/bus.ts'
import type { Counts } from '../ops/counts.ts'
import type { Log } from '../ops/log.ts'
import { ClientError, isClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import { isRecord } from '../protocol/json.ts'

export interface CallsDependencies {
  readonly bus: Pick<Bus, 'node' | 'peers' | 'send'>
  readonly topic: string
  /** Answers another node. A rejection is told as a failure. */
  answer(order: unknown): MaybePromise<unknown>
  readonly counts: Counts
  readonly log: Log
  /** How long the other nodes may take. */
  readonly deadlineMs: number
}

/** What the other nodes said. */
export interface Answers<T> {
  readonly answers: ReadonlyMap<string, T>
  /** The nodes that did not answer in time, or not what was asked for. */
  readonly missing: readonly string[]
}

interface Call {
  readonly waiting: Set<string>
  readonly answers: Map<string, unknown>
  end(): void
}

/** Questions under way at once. */
const MAX_CALLS = 1000

/** Questions to all other nodes, by memos: `{"id","ask"}`, and to the one who asked `{"id","answer"}`. */
export class Calls {
  readonly #deps: CallsDependencies
  readonly #calls = new Map<number, Call>()
  #lastId = 0

  constructor(deps: CallsDependencies) {
    this.#deps = deps
  }

  /**
   * Asks all other nodes, or `to` alone. Resolves when each has answered, at the deadline at the latest; `extraMs` is
   * what they may take longer than usual.
   * @throws {ClientError} unavailable, with too many questions under way
   */
  async ask<T>(
    order: object,
    decode: (answer: unknown) => T | null,
    extraMs = 0,
    to?: string,
  ): Promise<Answers<T>> {
    const { bus, topic, deadlineMs } = this.#deps
    const waiting = new Set(to === undefined ? bus.peers : [to])
    const asked = [...waiting]
    if (asked.length === 0) return { answers: new Map(), missing: [] }
    if (this.#calls.size >= MAX_CALLS) {
      throw new ClientError('unavailable', 'too many questions to the other nodes are under way')
    }
    const id = ++this.#lastId
    const raw = new Map<string, unknown>()
    await new Promise<void>((resolve) => {
      const deadline = setTimeout(resolve, deadlineMs + extraMs)
      const end = (): void => {
        clearTimeout(deadline)
        resolve()
      }
      this.#calls.set(id, { waiting, answers: raw, end })
      bus.send({ kind: 'memo', topic, ...(to === undefined ? {} : { to }), body: { id, ask: order } })
    })
    this.#calls.delete(id)
    const answers = new Map<string, T>()
    for (const [node, answer] of raw) {
      const decoded = decode(answer)
      if (decoded !== null) answers.set(node, decoded)
    }
    return { answers, missing: asked.filter((node) => !answers.has(node)) }
  }

  onMemo({ topic, body }: Memo, from: string): void {
    if (topic !== this.#deps.topic) return
    if (!isRecord(body) || !Number.isSafeInteger(body['id'])) return this.#refused('no question, no answer')
    const id = body['id'] as number
    if ('ask' in body) return this.#reply(id, body['ask'], from)
    const call = this.#calls.get(id)
    // Late, or not ours.
    if (call === undefined || !call.waiting.delete(from)) return
    if ('answer' in body) call.answers.set(from, body['answer'])
    if (call.waiting.size === 0) call.end()
  }

  /** A node that has gone won't answer. */
  onGone(node: string): void {
    for (const call of this.#calls.values()) {
      if (call.waiting.delete(node) && call.waiting.size === 0) call.end()
    }
  }

  /** Nobody is waited for any more. */
  stop(): void {
    for (const call of this.#calls.values()) call.end()
  }

  #reply(id: number, order: unknown, to: string): void {
    const { bus, topic } = this.#deps
    const send = (body: object): void => bus.send({ kind: 'memo', topic, to, body: { id, ...body } })
    const fail = (error: unknown): void => {
      this.#refused('a question of another node failed', error)
      send({ error: 'failed' })
    }
    try {
      const answer = this.#deps.answer(order)
      if (answer instanceof Promise) answer.then((known: unknown) => send({ answer: known })).catch(fail)
      else send({ answer })
    } catch (error) {
      fail(error)
    }
  }

  /** What comes and is no question and no answer, and what failed in answering. */
  #refused(reason: string, error?: unknown): void {
    const { counts, log } = this.#deps
    counts.error('bus', isClientError(error) ? error.code : 'bad_memo')
    log.debug({ reason, err: error }, 'memo refused')
  }
}

/** Does what is asked for; what is no order of ours is refused: a newer node may ask for what this one can't do. */
export function obeying<Order>(
  decode: (value: unknown) => Order | null,
  obey: (order: Order) => MaybePromise<unknown>,
): CallsDependencies['answer'] {
  return (value) => {
    const order = decode(value)
    if (order === null) throw new ClientError('invalid_input', 'no such order')
    return obey(order)
  }
}
