import { authenticate } from '../auth/authenticator.ts'
import { drain } from '../drain.ts'
import type { Answer } from '../hub/answer.ts'
import type { Client } from '../hub/client.ts'
import type { Deadlines } from '../hub/deadlines.ts'
import type { Hub } from '../hub/hub.ts'
import { paced } from '../hub/pacing.ts'
import type { Publisher } from '../hub/publisher.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { History } from '../hub/history.ts'
import type { Counts } from '../ops/counts.ts'
import { CLOSE, ClientError, isClientError } from '../protocol/codes.ts'
import type { ClientFrame } from '../protocol/decode.ts'
import type { FrameId } from '../protocol/frames.ts'
import { tryWriteJson, writeJson } from '../protocol/json.ts'
import { memberText, oneLine } from '../protocol/json-text.ts'
import type { Services } from '../registry/context.ts'
import { dispatch } from '../registry/dispatch.ts'
import type { Credentials, User } from '../registry/define.ts'
import { runHook } from '../registry/hooks.ts'
import type { Live } from '../rules.ts'
import type { SignalSink } from '../signals/sink.ts'
import type { MaybePromise } from '../sources/source.ts'
import { type Asker, connected, publisherOf, takeCall, type Visitor } from './asker.ts'
import { closeCodeOf, unauthenticatedCode } from './endings.ts'
import type { Inbox } from './inbox.ts'

export interface CommandsDependencies {
  readonly live: Live
  readonly hub: Hub
  readonly subscriber: Subscriber
  readonly publisher: Publisher
  readonly history: History
  readonly deadlines: Deadlines
  readonly services: Services
  readonly counts: Counts
  /** Told of frames and calls. @default nobody */
  readonly signals?: SignalSink
  /** @default `presence` frames are told `unavailable` */
  readonly presence?: {
    /** Who is on the channel, as JSON: `{"clients","count"}`. */
    read(channel: string): MaybePromise<string>
  }
  /** Who waits for `ack` frames. @default nobody */
  readonly events?: {
    acknowledge(client: Client, id: FrameId, args: readonly unknown[]): void
  }
}

/** What can be asked without a connection. */
export type VisitorFrame = ClientFrame & { readonly type: 'call' | 'publish' }

/** What a client's frames do, whatever brought them. */
export class Commands {
  readonly #deps: CommandsDependencies
  /** Calls whose actions have not answered yet. */
  readonly #running = new Set<Promise<void>>()

  constructor(deps: CommandsDependencies) {
    this.#deps = deps
  }

  /**
   * Handles one frame and answers it. A promise means that the next frame must wait. `text` is the frame as
   * it came.
   * @throws {ClientError}
   */
  execute(
    client: Client,
    frame: ClientFrame,
    text: string,
    inbox: Inbox,
    answer: Answer = client,
  ): MaybePromise<void> {
    const allowed = this.#admit(frame, client.identity, client)
    if (allowed instanceof Promise) {
      return allowed.then(() => this.#execute(client, frame, text, inbox, answer))
    }
    return this.#execute(client, frame, text, inbox, answer)
  }

  /** As `execute`, for somebody without a connection. @throws {ClientError} */
  executeAlone(visitor: Visitor, frame: VisitorFrame, text: string, answer: Answer): MaybePromise<void> {
    const asker = { ...visitor, client: null }
    const execute = (): MaybePromise<void> => {
      this.#deps.signals?.said(null, visitor.identity?.id ?? null, frame)
      return frame.type === 'call'
        ? this.#call(asker, frame, answer)
        : this.#publish(asker, frame, text, answer)
    }
    const allowed = this.#admit(frame, visitor.identity, null)
    return allowed instanceof Promise ? allowed.then(execute) : execute()
  }

  /** Makes a user of a connection. Its subscriptions stay; another user's connection it can't become. */
  identify(client: Client, user: User): void {
    // It may have been revoked since it was found out who it is.
    this.#deps.live.rules.revocations.check(user)
    const before = client.identity
    if (before !== null && (before.id !== user.id || before.database !== user.database)) {
      throw new ClientError('forbidden', 'this connection belongs to another user: open a new one')
    }
    this.#deps.hub.identify(client, user)
    // It left while it was asked who it is: nobody would clear its deadline.
    if (!client.open) return
    if (user.expires === undefined) this.#deps.deadlines.clear(client)
    else {
      const deadline = { at: user.expires, code: CLOSE.tokenExpired, reason: 'token expired' }
      this.#deps.deadlines.set(client, deadline)
    }
  }

  /** Tells a client why it may stay no longer, and closes. */
  dismiss(client: Client, error: unknown): void {
    if (!client.open) return
    this.refuse(client, undefined, error)
    this.#deps.hub.close(client, closeCodeOf(error), isClientError(error) ? error.code : 'internal')
  }

  /** `settle` waits for this as well; it never rejects. */
  track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked))
    this.#running.add(tracked)
  }

  /** Waits for the actions that are running, those that begin meanwhile too, but no longer than the deadline. */
  settle(deadlineMs: number): Promise<void> {
    return drain(this.#running, deadlineMs)
  }

  /** Tells a client why its frame was refused; what is no ClientError is logged and told as `internal`. */
  refuse(
    client: Client | null,
    id: FrameId | undefined,
    error: unknown,
    answer: Answer | null = client,
  ): void {
    if (!isClientError(error)) {
      this.#deps.services.log.error({ session: client?.session ?? null, err: error }, 'frame failed')
    }
    const told = isClientError(error) ? error : new ClientError('internal', 'the daemon failed here')
    this.#deps.counts.error('client', told.code)
    const { code, message, details } = told
    answer?.send({ type: 'error', id, code, message, details })
  }

  /** Whether it may be handled at all: the config and the `message` hook say. */
  #admit(frame: ClientFrame, identity: User | null, client: Client | null): MaybePromise<void> {
    const { config, registry } = this.#deps.live.rules
    if (config.auth.required && identity === null && !OPEN_TO_ALL.has(frame.type)) {
      throw new ClientError('unauthenticated', 'authenticate first')
    }
    const { message } = registry.hooks
    if (message === null) return undefined
    const call = {
      place: 'hooks.message',
      connection: client,
      user: identity?.id ?? null,
      database: identity?.database ?? null,
      deadlineMs: config.limits.callMs,
    }
    return runHook(call, this.#deps.services, (run) => message({ ...frame }, run))
  }

  #execute(
    client: Client,
    frame: ClientFrame,
    text: string,
    inbox: Inbox,
    answer: Answer,
  ): MaybePromise<void> {
    this.#deps.signals?.said(client, client.user, frame)
    switch (frame.type) {
      case 'call':
        return this.#call(connected(client, inbox), frame, answer)
      case 'publish':
        return this.#publish(connected(client, inbox), frame, text, answer)
      case 'subscribe':
        return this.#deps.subscriber.subscribe(client, frame.id, frame.channel, frame, answer)
      case 'unsubscribe':
        this.#deps.hub.leave(client, frame.channel)
        return reply(answer, frame.id, 'null')
      case 'history':
        return this.#history(client, frame, answer)
      case 'presence':
        return this.#presence(client, frame, answer)
      case 'ack':
        this.#deps.events?.acknowledge(client, frame.id, frame.args ?? [])
        return undefined
      case 'confirm':
        return this.#confirm(client, frame, inbox, answer)
      case 'authenticate':
        return this.#authenticate(client, frame, answer)
      case 'ping':
        answer.send({ type: 'pong', id: frame.id })
        return undefined
      default:
        return unreachable(frame)
    }
  }

  /** Answers when the action does; other frames go on meanwhile. */
  #call(asker: Asker, frame: ClientFrame & { type: 'call' }, answer: Answer): void {
    const { rules } = this.#deps.live
    const { client, identity, allowance } = asker
    takeCall(asker, rules)
    if (allowance.pendingCalls >= rules.config.limits.pendingCalls) {
      throw new ClientError('limit_exceeded', `at most ${rules.config.limits.pendingCalls} calls at once`)
    }
    this.#deps.counts.calls++
    const { id: user = null, database = null } = identity ?? {}
    if (rules.registry.actions.has(frame.action))
      this.#deps.signals?.called(client, user, frame.action, frame.data)
    const call = { name: frame.action, data: frame.data, connection: client, user, database }
    const result = dispatch(call, rules.dispatch, this.#deps.services)
    if (!(result instanceof Promise)) return reply(answer, frame.id, result)
    allowance.pendingCalls++
    const answered = result
      .then(
        (json) => reply(answer, frame.id, json),
        (error: unknown) => this.refuse(client, frame.id, error, answer),
      )
      .finally(() => {
        allowance.pendingCalls--
        this.#running.delete(answered)
      })
    this.#running.add(answered)
  }

  /** Answers when it is durable; other frames go on meanwhile, unless very many wait for that. */
  #confirm(
    client: Client,
    frame: ClientFrame & { type: 'confirm' },
    inbox: Inbox,
    answer: Answer,
  ): MaybePromise<void> {
    const durable = this.#deps.subscriber.confirm(client, frame.channel, frame.cursor)
    inbox.pendingConfirms++
    const answered = durable
      .then(
        () => {
          this.#deps.counts.confirms++
          reply(answer, frame.id, 'null')
        },
        (error: unknown) => this.refuse(client, frame.id, error, answer),
      )
      .finally(() => {
        inbox.pendingConfirms--
        this.#running.delete(answered)
      })
    this.#running.add(answered)
    return inbox.pendingConfirms < MAX_CONFIRMS ? undefined : answered
  }

  #publish(
    asker: Asker,
    frame: ClientFrame & { type: 'publish' },
    text: string,
    answer: Answer,
  ): MaybePromise<void> {
    takeCall(asker, this.#deps.live.rules)
    const admitted = this.#deps.subscriber.admitPublish(asker, frame.channel, frame.data)
    if (!(admitted instanceof Promise)) return this.#publishAdmitted(asker, frame, text, answer)
    return admitted.then(() => this.#publishAdmitted(asker, frame, text, answer))
  }

  #publishAdmitted(
    asker: Asker,
    frame: ClientFrame & { type: 'publish' },
    text: string,
    answer: Answer,
  ): MaybePromise<void> {
    const id = this.#deps.publisher.publish({
      channel: frame.channel,
      json: dataOf(frame, text),
      source: 'client',
      key: frame.key === undefined ? undefined : `${publisherOf(asker)} ${frame.key}`,
      exclude: frame.exclude === true ? asker.client?.session : undefined,
    })
    if (id instanceof Promise) return id.then((cursor) => replyId(answer, frame.id, cursor))
    return replyId(answer, frame.id, id)
  }

  async #history(client: Client, frame: ClientFrame & { type: 'history' }, answer: Answer): Promise<void> {
    await this.#deps.subscriber.admit(client, frame.channel)
    reply(answer, frame.id, await this.#deps.history.read(frame.channel, frame))
    await paced(client, this.#deps.live.rules.config.limits)
  }

  async #presence(client: Client, frame: ClientFrame & { type: 'presence' }, answer: Answer): Promise<void> {
    const { presence, subscriber, live } = this.#deps
    if (presence === undefined) throw new ClientError('unavailable', 'presence is not kept here')
    await subscriber.admit(client, frame.channel)
    reply(answer, frame.id, await presence.read(frame.channel))
    await paced(client, live.rules.config.limits)
  }

  async #authenticate(
    client: Client,
    frame: ClientFrame & { type: 'authenticate' },
    answer: Answer,
  ): Promise<void> {
    const { rules } = this.#deps.live
    const credentials: Credentials = {
      token: frame.token,
      headers: {},
      cookies: {},
      query: {},
      address: client.address,
    }
    try {
      const user = await authenticate(credentials, rules, this.#deps.services)
      if (user === null) throw new ClientError('unauthenticated', 'the token is not accepted')
      const refreshed = client.identity !== null
      this.identify(client, user)
      reply(answer, frame.id, writeJson({ user: user.id, expires: user.expires ?? null }))
      // The new token may open less than the one that the subscriptions were made with.
      if (refreshed) await this.#deps.subscriber.recheck(client)
    } catch (error) {
      this.refuse(client, frame.id, error, answer)
      // A key set that can't be reached is not the client's fault: it may try again.
      if (isClientError(error) && error.code === 'unauthenticated') {
        this.#deps.hub.close(client, unauthenticatedCode(error), 'unauthenticated')
      }
    }
  }
}

/** Confirms of one connection that are not durable yet, before its next frame waits for them. */
const MAX_CONFIRMS = 100

const OPEN_TO_ALL: ReadonlySet<string> = new Set(['authenticate', 'ping'])

function reply(answer: Answer, id: FrameId | undefined, json: string): void {
  if (id !== undefined || answer.apart === true) answer.send({ type: 'reply', id, json })
}

function replyId(answer: Answer, id: FrameId | undefined, cursor: string | null): void {
  reply(answer, id, cursor === null ? '{"id":null}' : `{"id":"${cursor}"}`)
}

/** The data as the client wrote it: numbers keep every digit. */
function dataOf(frame: ClientFrame & { type: 'publish' }, text: string): string {
  const json = memberText(oneLine(text), 'data') ?? tryWriteJson(frame.data)
  if (json === undefined) throw new ClientError('invalid_input', 'data: nested too deeply')
  return json
}

function unreachable(frame: never): never {
  throw new Error(`no such frame: ${JSON.stringify(frame)}`)
}
