import { pino } from 'pino'
import type { Log } from '../../src/ops/log.ts'
import type { MaybePromise, Notification, SourceHandlers, SourceState } from '../../src/sources/source.ts'

/** A source's handlers that write everything down. */
export interface Recorder extends SourceHandlers {
  readonly notifications: Notification[]
  /** The data of the notifications. */
  readonly data: unknown[]
  readonly states: SourceState[]
  readonly rejects: { code: string; message: string; place: string }[]
  readonly gaps: number
  /** What is done with a notification before it is written down. */
  handle: (notification: Notification) => MaybePromise<void>
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
      const note = (): void => {
        recorder.notifications.push(notification)
        recorder.data.push(notification.data)
      }
      const work = recorder.handle(notification)
      if (work) return work.then(note)
      note()
      return undefined
    },
    onGap: () => void gaps++,
    onState: (state) => void recorder.states.push(state),
    onReject: (code, message, place) => void recorder.rejects.push({ code, message, place }),
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
