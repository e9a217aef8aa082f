import type { Bus, Memo } from '../../bus/bus.ts'
import { Calls } from '../../hub/cluster-calls.ts'
import { isRecord } from '../../protocol/json.ts'
import type { Counts } from '../../ops/counts.ts'
import type { Log } from '../../ops/log.ts'
import { ClientError, isClientError } from '../../protocol/codes.ts'
import { decodeOutcome, failure, type Outcome } from './outcome.ts'
import { type Pass, nodeOf, proofOf, unknownSession } from './sessions.ts'

export interface ForwarderDependencies {
  readonly bus: Pick<Bus, 'node' | 'peers' | 'ready' | 'send'>
  readonly counts: Counts
  readonly log: Log
  /** Runs a command that another node passed on. @throws {ClientError} forbidden, unknown_session, bad_frame, … */
  perform(session: string, text: string, proof: string): Promise<Outcome>
}

/** Passes commands on to the node that has their session, and runs those that others pass on. */
export class Forwarder {
  readonly #deps: ForwarderDependencies
  readonly #calls: Calls

  constructor(deps: ForwarderDependencies) {
    const { bus, counts, log } = deps
    this.#deps = deps
    this.#calls = new Calls({
      bus,
      topic: 'upstream',
      deadlineMs: 0,
      answer: (order) => this.#answer(order),
      counts,
      log,
    })
  }

  isHere(pass: Pass): boolean {
    return nodeOf(pass) === this.#deps.bus.node
  }

  /**
   * Has the session's node run a command. Resolves within the deadline.
   * @throws {ClientError} unknown_session where that node is gone: nothing was done; unavailable where it does not answer:
   *   it may have been done; too_large
   */
  async forward(pass: Pass, text: string, deadlineMs: number): Promise<Outcome> {
    const { bus } = this.#deps
    const node = nodeOf(pass)
    if (!bus.ready) throw new ClientError('unavailable', 'the node of this session can not be reached now')
    if (!bus.peers.has(node)) throw unknownSession()
    if (text.length > MAX_CARRIED)
      throw new ClientError('too_large', 'too large to be passed on to another node')
    const order = { session: pass.session, text, proof: proofOf(pass, text) }
    const { answers } = await this.#calls.ask(order, decodeOutcome, deadlineMs, node)
    const outcome = answers.get(node)
    if (outcome !== undefined) return outcome
    throw new ClientError(
      'unavailable',
      'the node of this session did not answer: it may have been done or not',
    )
  }

  /** For the bus's handlers. */
  onMemo(memo: Memo, from: string): void {
    this.#calls.onMemo(memo, from)
  }

  onPeer(node: string, here: boolean): void {
    if (!here) this.#calls.onGone(node)
  }

  /** Who waits for another node is told that it did not answer. Idempotent. */
  stop(): void {
    this.#calls.stop()
  }

  async #answer(order: unknown): Promise<Outcome> {
    if (!isRecord(order)) throw new ClientError('invalid_input', 'no such order')
    const { session, text, proof } = order
    if (typeof session !== 'string' || typeof text !== 'string' || typeof proof !== 'string') {
      throw new ClientError('invalid_input', 'no such order')
    }
    const outcome = await this.#perform(session, text, proof)
    if (outcome.json.length <= MAX_CARRIED) return outcome
    return failure(
      new ClientError('too_large', 'done, but the answer is too large to come from another node'),
    )
  }

  async #perform(session: string, text: string, proof: string): Promise<Outcome> {
    try {
      return await this.#deps.perform(session, text, proof)
    } catch (error) {
      if (isClientError(error)) return { ...failure(error), atDoor: true }
      throw error
    }
  }
}

/** In units of a string: a letter of the bus takes 8 MiB, and JSON within JSON is up to three times as long. */
const MAX_CARRIED = 2 * 1024 * 1024
