import { BODY_MS, STALL_MS } from './limits.ts'
import type { ListenerHandlers, ListenerOptions } from './listener.ts'
import { Sweep } from './sweep.ts'

/** The deadlines of one listener's requests and streams, and who is told of what was refused for them. */
export class RequestDeadlines {
  readonly bodies: Sweep
  readonly stalls: Sweep
  readonly onRefused: (status: number) => void

  constructor(
    { bodyMs = BODY_MS, stallMs = STALL_MS }: Pick<ListenerOptions, 'bodyMs' | 'stallMs'>,
    handlers: Pick<ListenerHandlers<unknown>, 'onRefused'>,
  ) {
    this.bodies = new Sweep(bodyMs)
    this.stalls = new Sweep(stallMs)
    this.onRefused = (status) => handlers.onRefused?.(status)
  }

  stop(): void {
    this.bodies.stop()
    this.stalls.stop()
  }
}
