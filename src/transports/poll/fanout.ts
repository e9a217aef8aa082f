import { isCompleteTopic } from '../../hub/client.ts'
import type { Fanout, Link } from '../../hub/link.ts'
import type { MessageFrame, PresenceFrame, ServerFrame } from '../../protocol/frames.ts'
import { extraOf } from './extras.ts'

/** Who collects what is for everybody on a topic. */
export interface Collector extends Link {
  /** A frame that many get: nothing in it is the collector's own. `extra`: what stands in an answer that has no message. */
  collect(frame: MessageFrame | PresenceFrame, extra: string): void
}

/**
 * What is for all comes to waiting requests as the message's text, which they share. Cursors that move need not be
 * told: an answer has the newest.
 */
export class PollFanout implements Fanout {
  readonly #topics = new Map<string, Set<Collector>>()

  /** How many topics somebody is on. */
  get size(): number {
    return this.#topics.size
  }

  join(topic: string, link: Collector): void {
    if (isCompleteTopic(topic)) return
    const links = this.#topics.get(topic)
    if (links === undefined) this.#topics.set(topic, new Set([link]))
    else links.add(link)
  }

  leave(topic: string, link: Collector): void {
    const links = this.#topics.get(topic)
    if (links?.delete(link) === true && links.size === 0) this.#topics.delete(topic)
  }

  publish(topic: string, frame: ServerFrame, except: Link | null): void {
    if (frame.type !== 'message' && frame.type !== 'presence') return
    const links = this.#topics.get(topic)
    if (links === undefined) return
    const extra = frame.type === 'presence' ? extraOf(frame) : ''
    for (const link of links) if (link !== except) link.collect(frame, extra)
  }
}
