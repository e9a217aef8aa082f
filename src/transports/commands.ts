import { authenticate } from '../auth/authenticator.ts'
import { drain } from '../drain.ts'
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
import type { Live, Rules } from '../rules.ts'
import type { MaybePromise } from '../sources/source.ts'
import { unauthenticatedCode } from './endings.ts'
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
}

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
  execute(client: Client, frame: ClientFrame, text: string, inbox: Inbox): MaybePromise<void> {
    const { rules } = this.#deps.live
    const { hooks } = rules.registry
    if (rules.config.auth.required && client.identity === null && !OPEN_TO_ALL.has(frame.type)) {
      throw new ClientError('unauthenticated', 'authenticate first')
    }
    if (hooks.message === null) return this.#execute(client, frame, text, inbox)
    const { message } = hooks
    const call = { place: 'hooks.message', connection: client, deadlineMs: rules.config.limits.callMs }
    const asked = runHook(call, this.#deps.services, (run) => message({ ...frame }, run))
    if (asked instanceof Promise) return asked.then(() => this.#execute(client, frame, text, inbox))
    return this.#execute(client, frame, text, inbox)
  }

  /** Makes a user of a connection. Its subscriptions stay; another user's connection it can't become. */
  identify(client: Client, user: User): void {
    if (client.identity !== null && client.identity.id !== user.id) {
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

  /** Waits for the actions that are running, those that begin meanwhile too, but no longer than the deadline. */
  settle(deadlineMs: number): Promise<void> {
    return drain(this.#running, deadlineMs)
  }

  /** Tells a client why its frame was refused; what is no ClientError is logged and told as `internal`. */
  refuse(client: Client, id: FrameId | undefined, error: unknown): void {
    if (!isClientError(error)) {
      this.#deps.services.log.error({ session: client.session, err: error }, 'frame failed')
    }
    const told = isClientError(error) ? error : new ClientError('internal', 'the daemon failed here')
    this.#deps.counts.error('client', told.code)
    const { code, message, details } = told
    client.send({ type: 'error', id, code, message, details })
  }

  #execute(client: Client, frame: ClientFrame, text: string, inbox: Inbox): MaybePromise<void> {
    switch (frame.type) {
      case 'call':
        return this.#call(client, frame, inbox)
      case 'publish':
        return this.#publish(client, frame, text, inbox)
      case 'subscribe':
        return this.#deps.subscriber.subscribe(client, frame.id, frame.channel, frame)
      case 'unsubscribe':
        this.#deps.hub.leave(client, frame.channel)
        return reply(client, frame.id, 'null')
      case 'history':
        return this.#history(client, frame)
      case 'confirm':
        return this.#confirm(client, frame, inbox)
      case 'authenticate':
        return this.#authenticate(client, frame)
      case 'ping':
        client.send({ type: 'pong', id: frame.id })
        return undefined
      default:
        return unreachable(frame)
    }
  }

  /** Answers when the action does; other frames go on meanwhile. */
  #call(client: Client, frame: ClientFrame & { type: 'call' }, inbox: Inbox): void {
    const { rules } = this.#deps.live
    takeCall(inbox, rules)
    if (inbox.pendingCalls >= rules.config.limits.pendingCalls) {
      throw new ClientError('limit_exceeded', `at most ${rules.config.limits.pendingCalls} calls at once`)
    }
    this.#deps.counts.calls++
    const call = { name: frame.action, data: frame.data, connection: client }
    const result = dispatch(call, rules.dispatch, this.#deps.services)
    if (!(result instanceof Promise)) return reply(client, frame.id, result)
    inbox.pendingCalls++
    const answered = result
      .then(
        (json) => reply(client, frame.id, json),
        (error: unknown) => this.refuse(client, frame.id, error),
      )
      .finally(() => {
        inbox.pendingCalls--
        this.#running.delete(answered)
      })
    this.#running.add(answered)
  }

  /** Answers when it is durable; other frames go on meanwhile, unless very many wait for that. */
  #confirm(client: Client, frame: ClientFrame & { type: 'confirm' }, inbox: Inbox): MaybePromise<void> {
    const durable = this.#deps.subscriber.confirm(client, frame.channel, frame.cursor)
    inbox.pendingConfirms++
    const answered = durable
      .then(
        () => {
          this.#deps.counts.confirms++
          reply(client, frame.id, 'null')
        },
        (error: unknown) => this.refuse(client, frame.id, error),
      )
      .finally(() => {
        inbox.pendingConfirms--
        this.#running.delete(answered)
      })
    this.#running.add(answered)
    return inbox.pendingConfirms < MAX_CONFIRMS ? undefined : answered
  }

  #publish(
    client: Client,
    frame: ClientFrame & { type: 'publish' },
    text: string,
    inbox: Inbox,
  ): MaybePromise<void> {
    takeCall(inbox, this.#deps.live.rules)
    this.#deps.subscriber.checkPublish(client, frame.channel)
    const id = this.#deps.publisher.publish({
      channel: frame.channel,
      json: dataOf(frame, text),
      source: 'client',
    })
    if (id instanceof Promise) return id.then((cursor) => replyId(client, frame.id, cursor))
    return replyId(client, frame.id, id)
  }

  async #history(client: Client, frame: ClientFrame & { type: 'history' }): Promise<void> {
    await this.#deps.subscriber.admit(client, frame.channel)
    const answer = await this.#deps.history.read(frame.channel, frame)
    reply(client, frame.id, answer)
    await paced(client, this.#deps.live.rules.config.limits)
  }

  async #authenticate(client: Client, frame: ClientFrame & { type: 'authenticate' }): Promise<void> {
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
      reply(client, frame.id, writeJson({ user: user.id, expires: user.expires ?? null }))
      // The new token may open less than the one that the subscriptions were made with.
      if (refreshed) await this.#deps.subscriber.recheck(client)
    } catch (error) {
      this.refuse(client, frame.id, error)
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

function takeCall(inbox: Inbox, rules: Rules): void {
  if (inbox.calls.take(performance.now(), rules.callRate)) return
  throw new ClientError('rate_limited', `at most ${rules.config.limits.callsPerSecond} calls a second`)
}

function reply(client: Client, id: FrameId | undefined, json: string): void {
  if (id !== undefined) client.send({ type: 'reply', id, json })
}

function replyId(client: Client, id: FrameId | undefined, cursor: string | null): void {
  reply(client, id, cursor === null ? '{"id":null}' : `{"id":"${cursor}"}`)
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
