import { encodeFrame, idOf } from '../../protocol/encode.ts'
import type { ServerFrame, SubscribedFrame, WelcomeFrame } from '../../protocol/frames.ts'
import { type Format, welcomeJson } from './format.ts'

/**
 * Server-Sent Events. An `id` is given only where it is proved to be a cursor for the whole connection: the browser
 * keeps the last one, and sends it back after the next connect for all channels together.
 */
export class SseFormat implements Format {
  readonly givesPlaces = true
  readonly headers = { 'Content-Type': 'text/event-stream; charset=utf-8' }
  readonly keepAlive = ':\n\n'
  readonly #retryMs: () => number

  constructor(retryMs: () => number) {
    this.#retryMs = retryMs
  }

  opening(): string {
    return retry(this.#retryMs())
  }

  welcome(frame: WelcomeFrame, secret: () => string | null): string {
    return event('welcome', welcomeJson(frame, secret))
  }

  frame(frame: ServerFrame, complete: boolean): string {
    switch (frame.type) {
      case 'message':
        return message(frame.message, complete)
      case 'subscribed':
        return subscribed(frame, complete)
      case 'cursor':
        return `id: ${frame.cursor}\n\n`
      case 'event':
      case 'presence':
      case 'forgotten':
      case 'unsubscribed':
        return event(frame.type, untyped(frame))
      case 'reconnect':
        return reconnectEvent(frame.afterMs, frame.reason)
      // Answers to frames, which nobody sends over this.
      case 'welcome':
      case 'reply':
      case 'error':
      case 'pong':
        return ''
      default:
        return unreachable(frame)
    }
  }

  close(code: number, reason: string): string {
    return event('close', JSON.stringify({ code, reason }))
  }
}

/** Tells EventSource when to come back, which it does by itself once the answer ends. */
export function reconnectEvent(afterMs: number, reason: string): string {
  return retry(afterMs) + event('reconnect', untyped({ type: 'reconnect', afterMs, reason }))
}

function subscribed({ channel, messages, lost }: SubscribedFrame, complete: boolean): string {
  const gone = lost === true ? event('lost', `{"channel":"${channel}"}`) : ''
  return gone + messages.map((text) => message(text, complete)).join('')
}

function message(text: string, complete: boolean): string {
  const id = complete ? idOf(text) : null
  return id === null ? event('message', text) : `id: ${id}\n${event('message', text)}`
}

/** `data` is JSON, therefore on one line. */
function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`
}

/** A frame as the WebSocket has it, without its type: that is the event's. */
function untyped(frame: ServerFrame): string {
  const text = encodeFrame(frame)
  return `{${text.slice(text.indexOf(',') + 1)}`
}

function retry(ms: number): string {
  return `retry: ${ms}\n\n`
}

function unreachable(frame: never): never {
  throw new Error(`no such frame: ${JSON.stringify(frame)}`)
}
