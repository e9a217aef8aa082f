import { encodeFrame } from '../../protocol/encode.ts'
import type { ServerFrame, SubscribedFrame, WelcomeFrame } from '../../protocol/frames.ts'
import { type Format, welcomeJson } from './format.ts'

/**
 * The objects of a stream without events of its own: messages as they are, which have no `type`, and what must not go
 * unsaid, which has one. Each text is one JSON object.
 */
function objects(frame: ServerFrame): readonly string[] {
  switch (frame.type) {
    case 'message':
      return [frame.message]
    case 'subscribed':
      return subscribed(frame)
    case 'cursor':
    case 'event':
    case 'presence':
    case 'forgotten':
    case 'unsubscribed':
    case 'reconnect':
      return [encodeFrame(frame)]
    case 'welcome':
    case 'reply':
    case 'error':
    case 'pong':
      return []
    default:
      return unreachable(frame)
  }
}

function subscribed({ channel, messages, lost }: SubscribedFrame): readonly string[] {
  return lost === true ? [`{"type":"lost","channel":"${channel}"}`, ...messages] : messages
}

/** A JSON object a line; an empty line keeps it alive. */
export class NdjsonFormat implements Format {
  readonly givesPlaces = false
  readonly headers = { 'Content-Type': 'application/x-ndjson; charset=utf-8' }
  readonly keepAlive = '\n'

  opening(): string {
    return ''
  }

  welcome(_frame: WelcomeFrame, _secret: () => string | null): string {
    return ''
  }

  frame(frame: ServerFrame, _complete: boolean): string {
    return objects(frame).map(line).join('')
  }

  close(code: number, reason: string): string {
    return line(closeJson(code, reason))
  }
}

/** Every frame a line, as a WebSocket would have it. */
export class FramesFormat extends NdjsonFormat {
  override welcome(frame: WelcomeFrame, secret: () => string | null): string {
    return line(`{"type":"welcome",${welcomeJson(frame, secret).slice(1)}`)
  }

  override frame(frame: ServerFrame, _complete: boolean): string {
    return line(encodeFrame(frame))
  }
}

/**
 * A page that never ends, for an iframe: each object is given to a function of the page around it. `callback` is one
 * of the configured names. Cursors are left out: the page would take them for messages, and has their ids.
 */
export class HtmlFormat implements Format {
  readonly givesPlaces = false
  readonly headers: Readonly<Record<string, string>>
  readonly keepAlive = ' \n'
  readonly #callback: string

  constructor(callback: string, ancestors: string) {
    this.#callback = callback
    this.headers = {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': `default-src 'none'; script-src 'unsafe-inline'; frame-ancestors ${ancestors}`,
    }
  }

  opening(): string {
    return OPENING
  }

  welcome(_frame: WelcomeFrame, _secret: () => string | null): string {
    return ''
  }

  frame(frame: ServerFrame, _complete: boolean): string {
    return frame.type === 'cursor' ? '' : objects(frame).map(this.#script).join('')
  }

  close(code: number, reason: string): string {
    return this.#script(closeJson(code, reason))
  }

  readonly #script = (json: string): string => `<script>${this.#callback}(${inScript(json)})</script>\n`
}

/** Browsers that wait for a kibibyte before they begin. */
const OPENING = `<!doctype html><meta charset="utf-8"><title>livemessages</title><!--${' '.repeat(1024)}-->\n`

/** Nothing of the JSON can end the script or be a line break to an old parser; its value stays the same. */
function inScript(json: string): string {
  return json.replace(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const UNSAFE = /[<>&\u2028\u2029]/g

function closeJson(code: number, reason: string): string {
  return JSON.stringify({ type: 'close', code, reason })
}

function line(json: string): string {
  return `${json}\n`
}

function unreachable(frame: never): never {
  throw new Error(`no such frame: ${JSON.stringify(frame)}`)
}
