import { pino } from 'pino'
import type { Log } from '../../src/ops/log.ts'
import type {
  MaybePromise,
  Notification,
  Rejection,
  SourceHandlers,
  SourceState,
  Taken,
} from '../../src/sources/source.ts'

/** A source's handlers that write everything down. */
export interface Recorder extends SourceHandlers {
  readonly notifications: Notification[]
  /** The data of the notifications. */
  readonly data: unknown[]
  readonly states: SourceState[]
  readonly rejects: Rejection[]
  readonly gaps: number
  /** What is done with a notification before it is written down; one that is taken is written down at once. */
  handle: (notification: Notification) => MaybePromise<Taken | void>
}

export function record(): Recorder {
  let gaps = 0
  const recorder: Recorder = {
    notifications: [],
    data: [],
    states: [],
    rejects: [],
    get gaps() {
      return gaps
    },
    handle: () => undefined,
    onNotification(notification) {
      const note = (taken: Taken | void): Taken | void => {
        recorder.notifications.push(notification)
        recorder.data.push(notification.data)
        return taken
      }
      const work = recorder.handle(notification)
      return work instanceof Promise ? work.then(note) : note(work)
    },
    onGap: () => void gaps++,
    onState: (state) => void recorder.states.push(state),
    onReject: (rejection) => void recorder.rejects.push(rejection),
  }
  return recorder
}

export interface LogLine {
  readonly level: string
  readonly msg: string
}

/** A log that keeps its lines from `info` on. */
export function recordLog(): { log: Log; lines: LogLine[] } {
  const lines: LogLine[] = []
  const write = (line: string): void => {
    const parsed: LogLine = JSON.parse(line)
    lines.push(parsed)
  }
  const formatters = { level: (label: string) => ({ level: label }) }
  return { log: pino({ level: 'info', base: null, formatters }, { write }), lines }
}
