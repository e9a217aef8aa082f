import type { Answer } from '../../hub/answer.ts'
import { type ClientFrame, decode } from '../../protocol/decode.ts'
import { ClientError } from '../../protocol/codes.ts'
import type { ServerFrame } from '../../protocol/frames.ts'
import { tryWriteJson } from '../../protocol/json.ts'
import type { Registry } from '../../registry/registry.ts'
import type { SocketIoLink } from './link.ts'
import { originOf } from './origin.ts'
import { bodyOf, encodeAck, errorOf } from './packets.ts'

/** What a client emitted: its name, its arguments, and which answer it wants. */
export interface Incoming {
  readonly link: SocketIoLink
  readonly name: unknown
  readonly args: readonly unknown[]
  /** Undefined when it wants none. */
  readonly ackId: number | undefined
  readonly bytes: number
}

/** @param event the library's array of name, arguments and, where an answer is wanted, a function */
export function incomingOf(link: SocketIoLink, event: readonly unknown[]): Incoming {
  const origin = originOf(event)
  const ackId = origin?.ackId
  const args = event.slice(1, ackId === undefined ? undefined : -1)
  return { link, name: event[0], args, ackId, bytes: origin?.bytes ?? 0 }
}

/** Events that are the protocol's own, unless the subsystem has an action of that name. */
const COMMANDS: ReadonlySet<string> = new Set([
  'subscribe',
  'unsubscribe',
  'publish',
  'history',
  'presence',
  'confirm',
  'authenticate',
  'ping',
])

/**
 * The frame that an event stands for: a call of the namespace's subsystem (of the main namespace, the event's name is
 * the action's whole name), or a command of the protocol. One argument is the data, several are it as an array.
 * @throws {ClientError} for what is neither
 */
export function frameOf(
  { name, args, ackId }: Incoming,
  subsystem: string | null,
  { actions }: Pick<Registry, 'actions'>,
): { readonly frame: ClientFrame; readonly text: string } {
  if (typeof name !== 'string') throw new ClientError('bad_frame', "an event's name is a text")
  const spelled = name.replaceAll(' ', '_')
  const action = subsystem === null ? spelled : `${subsystem}.${spelled}`
  if (!actions.has(action) && COMMANDS.has(name)) return command(name, args, subsystem, ackId)
  const data = args.length > 1 ? args : args[0]
  const frame: ClientFrame = { type: 'call', action, ...idOf(ackId), ...(args.length === 0 ? {} : { data }) }
  return { frame, text: '' }
}

/** By way of its text: so it is checked as every other frame is. */
function command(
  type: string,
  args: readonly unknown[],
  subsystem: string | null,
  ackId: number | undefined,
): { readonly frame: ClientFrame; readonly text: string } {
  const fields = fieldsOf(type, args)
  const { channel } = fields
  if (subsystem !== null && typeof channel === 'string' && !channel.includes(':')) {
    fields['channel'] = `${subsystem}:${channel}`
  }
  const text = tryWriteJson({ ...fields, type, ...idOf(ackId) })
  if (text === undefined) throw new ClientError('invalid_input', 'nested too deeply')
  return { frame: decode(text), text }
}

/** `('general', { last: 5 })` is short for `({ channel: 'general', last: 5 })`, `('general', data)` for what is published. */
function fieldsOf(type: string, args: readonly unknown[]): Record<string, unknown> {
  const [first, second] = args
  if (typeof first !== 'string') return { ...asFields(first) }
  if (type === 'authenticate') return { token: first }
  if (type === 'publish') return { channel: first, data: second, ...asFields(args[2]) }
  if (type === 'confirm') return { channel: first, cursor: second }
  return { ...asFields(second), channel: first }
}

function asFields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {}
}

/** The answer finds its way back by the packet's own id: any will do here. */
function idOf(ackId: number | undefined): { id?: number } {
  return ackId === undefined ? {} : { id: 0 }
}

/** Answers an event: its callback gets the data, or `{ error: { code, message, details } }`. */
export class Acknowledgement implements Answer {
  readonly #incoming: Incoming
  readonly #spread: boolean

  /** @param spread a result that is a list is the callback's several arguments */
  constructor(incoming: Incoming, spread: boolean) {
    this.#incoming = incoming
    this.#spread = spread
  }

  send(frame: ServerFrame): boolean {
    const { link, ackId } = this.#incoming
    if (ackId === undefined) return link.send(frame)
    return link.answer(encodeAck(link.namespace, ackId, this.#args(frame)))
  }

  #args(frame: ServerFrame): string {
    switch (frame.type) {
      case 'reply':
        return this.#spread && frame.json.startsWith('[') ? frame.json : `[${frame.json}]`
      case 'error':
        return `[{"error":${errorOf(frame)}}]`
      default:
        return `[${bodyOf(frame)}]`
    }
  }
}
