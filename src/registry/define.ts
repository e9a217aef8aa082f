import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Log } from '../ops/log.ts'
import type { Migrations } from '../database/migration.ts'
import type { MaybePromise, Notification } from '../sources/source.ts'

/** Whoever is behind a connection. */
export interface User {
  readonly id: string
  /** Shown to others where presence is. */
  readonly info?: unknown
  /** When the token ends; milliseconds since 1970. */
  readonly expires?: number
  /** The database whose user this is, where there are several; user 42 of one is not user 42 of another. @default the home one */
  readonly database?: string
  /** Channel patterns of the token (`chat:*`) beside the policies. */
  readonly channels?: { readonly subscribe?: readonly string[]; readonly publish?: readonly string[] }
}

/** One client, as actions and hooks see it. */
export interface Connection {
  /** Public name of the connection. */
  readonly session: string
  /** The user's id; null until authenticated. */
  readonly user: string | null
  /** The database whose user it is; null: the home one, or nobody. */
  readonly database: string | null
  readonly info: unknown
  /** The peer's address. */
  readonly address: string
  readonly transport: string
  /** When it came; milliseconds since 1970. */
  readonly since: number
  readonly channels: readonly string[]
  /** Whatever your modules keep for this connection. */
  readonly bag: Map<string, unknown>
  /** Sends an `event` frame with these arguments. False when the client is gone. */
  emit(event: string, ...args: unknown[]): boolean
  /**
   * As `emit`, and resolves with the arguments of the client's answer.
   * @throws {ClientError} timeout; unavailable: the client has gone; limit_exceeded: too many of its answers are waited
   *   for
   */
  emitWithAck(event: string, args?: readonly unknown[], options?: AckOptions): Promise<readonly unknown[]>
  /** Sends an event to all other clients of all nodes. For those of one channel: `context.emit`. */
  broadcast(event: string, ...args: unknown[]): void
  /** Sends a text or a Buffer, as the event `message`. False when the client is gone. */
  send(message: string | Buffer): boolean
  /** Subscribes the client, whatever the channel's policy. */
  subscribe(channel: string): Promise<void>
  unsubscribe(channel: string): void
  /** Closes with 4405, or the code given. */
  disconnect(reason?: string, code?: number): void
}

/** How an answer is waited for. */
export interface AckOptions {
  /** In ms, at most an hour. @default limits.ackMs */
  readonly timeoutMs?: number
}

/** Whom an event goes to, on whichever nodes they are. */
export type EmitTarget =
  | { readonly session: string }
  | { readonly user: string }
  /** All who are subscribed to it. */
  | { readonly channel: string }
  | { readonly all: true }

export interface EmitOptions {
  /** A session that is not to get it; `'me'`: the one for which this module runs. */
  readonly exclude?: string
  /** Waits for the clients' answers. @default false */
  readonly ack?: boolean | AckOptions
}

/** What became of an event. */
export interface Emitted {
  /** How many clients it was sent to. */
  readonly count: number
  /** How many of them answered in time. */
  readonly answered: number
  /** Their answers, the first thousand of them and half a megabyte of each node at the most. */
  readonly acks: readonly EventAck[]
  /** Nodes that did not say in time what they did. */
  readonly missing: readonly string[]
}

/** One client's answer to an event. */
export interface EventAck {
  readonly session: string
  readonly user: string | null
  readonly args: readonly unknown[]
}

/** Who is on a channel: some, and how many there are. */
export interface Present {
  readonly clients: readonly {
    readonly session: string
    readonly user: string | null
    readonly info: unknown
  }[]
  readonly count: number
}

/** The connections of this node. */
export interface Connections extends Iterable<Connection> {
  readonly size: number
  get(session: string): Connection | undefined
  /** All connections of a user. */
  of(user: string): readonly Connection[]
  /** All connections on a channel. */
  on(channel: string): readonly Connection[]
}

/** The part of a `pg` pool that modules use. */
export interface Database {
  // The caller says what the columns are, as with pg.
  // oxlint-disable-next-line typescript-eslint/no-unnecessary-type-parameters
  query<Row extends Record<string, unknown> = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ rows: Row[]; rowCount: number | null }>
  /** Runs `work` in a transaction: committed when it resolves, rolled back when it rejects. */
  transaction<T>(work: (db: Database) => Promise<T>): Promise<T>
}

export interface PublishOptions {
  /** A second publication with the same key within the window is not delivered again. */
  readonly key?: string
  /** A session that is not to get it. */
  readonly exclude?: string
}

/** What every module gets. */
export interface BaseContext {
  readonly log: Log
  /** Aborted when the deadline passes or the daemon stops, as long as this run of the module is under way. */
  readonly signal: AbortSignal
  /**
   * The home database.
   * @throws {ClientError} `unavailable` on use where none is configured
   */
  readonly db: Database
  /** Resolves with the cursor of the publication; null on a transient channel. */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ id: string | null }>
  /**
   * Sends an event to clients of all nodes: at most once to each, now or never.
   * @throws {ClientError} unavailable
   */
  emit(target: EmitTarget, event: string, args?: readonly unknown[], options?: EmitOptions): Promise<Emitted>
  /**
   * Who is on a channel, on all nodes.
   * @throws {ClientError} unavailable
   */
  presence(channel: string): Promise<Present>
  /** Those of this node. */
  readonly connections: Connections
}

export interface ActionContext extends BaseContext {
  readonly subsystem: string
  readonly action: string
  readonly user: string | null
  readonly session: string | null
  /** Null for a call over HTTP without a session. */
  readonly connection: Connection | null
}

export interface HookContext extends BaseContext {
  readonly user: string | null
  readonly session: string | null
  readonly connection: Connection | null
}

type InputOf<S> = S extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<S> : unknown

/** A named action of a subsystem. */
export interface ActionDefinition<S extends StandardSchemaV1 | undefined = undefined, R = unknown> {
  /** Any Standard Schema validator (zod, valibot, arktype, …). Without it the input is passed as it came. */
  readonly input?: S
  handle(input: InputOf<S>, context: ActionContext): MaybePromise<R>
  /** Milliseconds, or `'5s'`. @default limits.callMs */
  readonly timeout?: number | string
  /** Who may call. @default the subsystem's channel access; `authenticated` without a policy */
  readonly access?: 'public' | 'authenticated'
  /** Tables that the subsystem needs: installed with the daemon's own, by `livemessage migrate`. */
  readonly migrations?: Migrations
}

/** Turns a subsystem's notifications into publications. */
export interface SenderDefinition {
  /** NOTIFY names that belong to this sender. */
  readonly notify?: string | readonly string[]
  /** The AMQP queue. @default `livemessages.<subsystem>` */
  readonly queue?: string
  /** The channel or channels a notification goes to; null or nothing drops it. */
  route(
    notification: Notification,
    context: BaseContext,
  ): MaybePromise<string | readonly string[] | null | undefined>
  /** What is published. @default the notification's data */
  format?(notification: Notification, context: BaseContext): unknown
  /** Tables that the subsystem needs: installed with the daemon's own, by `livemessage migrate`. */
  readonly migrations?: Migrations
}

/** What a `subscribe` hook is asked. */
export interface SubscribeRequest {
  readonly channel: string
  readonly subsystem: string
  readonly rest: string
}

/** May this client subscribe? False, or a thrown ClientError, refuses. */
export type SubscribeHook = (request: SubscribeRequest, context: HookContext) => MaybePromise<boolean>

/** What an `authenticate` hook is given: the handshake and, where there was one, the token. */
export interface Credentials {
  readonly token: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly cookies: Readonly<Record<string, string>>
  readonly address: string
  readonly query: Readonly<Record<string, string>>
  /** What a Socket.IO client gave as `auth`. */
  readonly auth?: Readonly<Record<string, unknown>>
}

/** The user, or null where the credentials are none. */
export type AuthenticateHook = (credentials: Credentials, context: BaseContext) => MaybePromise<User | null>

/** A client has come: it may be subscribed, greeted, or refused by a thrown ClientError. */
export type ConnectHook = (connection: Connection, context: HookContext) => MaybePromise<void>

export type DisconnectHook = (
  connection: Connection,
  why: { readonly code: number; readonly reason: string },
  context: HookContext,
) => MaybePromise<void>

/** Sees every frame of a client before it is handled; a thrown ClientError refuses it. */
export type MessageHook = (
  frame: Readonly<Record<string, unknown>>,
  context: HookContext,
) => MaybePromise<void>

/** Sees every call before its action; a thrown ClientError refuses it. */
export type CallHook = (
  call: { readonly subsystem: string; readonly action: string; readonly data: unknown },
  context: HookContext,
) => MaybePromise<void>

/** Runs once, when everything is listening. */
export type StartHook = (context: BaseContext) => MaybePromise<void>

/** Survives two copies of this package in one process, which a brand by `instanceof` would not. */
export const KIND = Symbol.for('livemessages.kind')

/** Defines an action: its input's type follows from the validator. */
export function defineAction<S extends StandardSchemaV1 | undefined = undefined, R = unknown>(
  definition: ActionDefinition<S, R>,
): ActionDefinition<S, R> {
  return brand(definition, 'action')
}

/** Defines a subsystem's sender. */
export function defineSender(definition: SenderDefinition): SenderDefinition {
  return brand(definition, 'sender')
}

function brand<T extends object>(definition: T, kind: 'action' | 'sender'): T {
  return Object.defineProperty({ ...definition }, KIND, { value: kind })
}
