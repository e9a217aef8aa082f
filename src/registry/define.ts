import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Log } from '../ops/log.ts'
import type { Migrations } from '../database/migration.ts'
import type { MaybePromise, Notification } from '../sources/source.ts'
import type {
  Connection,
  Connections,
  EmitOptions,
  Emitted,
  EmitTarget,
  Present,
  User,
} from './connection.ts'
import type { Database, PublishOptions } from './database.ts'

export type {
  AckOptions,
  Connection,
  ConnectionFilter,
  Connections,
  Emitted,
  EmitOptions,
  EmitTarget,
  EventAck,
  Present,
  User,
} from './connection.ts'
export type { Database, PublishOptions, Transaction } from './database.ts'

/** How another action is called. */
export interface CallOptions {
  /** As this user; only for what runs for nobody: senders, `start`, `authenticate`. @default nobody */
  readonly as?: string
}

export interface BroadcastOptions {
  /** A session that is not to get it; null: all get it. @default 'me': the client for which this runs, where there is one */
  readonly exclude?: string | null
}

/** What every module gets. */
export interface BaseContext {
  readonly log: Log
  /** Aborted when the deadline passes or the daemon stops, as long as this run of the module is under way. */
  readonly signal: AbortSignal
  /**
   * The database that this runs for: the user's, that of the notification, otherwise the home one.
   * @throws {ClientError} `unavailable` on use where none is configured
   */
  readonly db: Database
  /** Its name; null without a database. */
  readonly database: string | null
  /** All databases of the config by name, the home one among them: `databases['b']`. A name that is none throws. */
  readonly databases: Readonly<Record<string, Database>>
  /**
   * Publishes at once, also within a transaction's callback: there `publish` of the transaction is the right one.
   * Resolves with the cursor of the publication; null on a transient channel.
   * @throws {LivemessageError} PUBLISH_REFUSED: the channel is none
   * @throws {ClientError} too_large, conflict, unavailable
   */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<{ id: string | null }>
  /**
   * Sends an event to clients of all nodes: at most once to each, now or never.
   * @throws {ClientError} unavailable
   */
  emit(target: EmitTarget, event: string, args?: readonly unknown[], options?: EmitOptions): Promise<Emitted>
  /**
   * Sends an event to all clients of all nodes but the one for which this runs; to that one too with `exclude: null`.
   * @throws {ClientError} unavailable
   */
  broadcast(event: string, args?: readonly unknown[], options?: BroadcastOptions): Promise<Emitted>
  /**
   * Runs another action, in this process and for the same user and connection: its access is checked, the `call` hook is
   * asked, the data validated. Resolves with what it returned, as it is; within this run's deadline.
   * @throws {ClientError} what the action throws; limit_exceeded: 16 actions call one another
   */
  // The caller says what it resolves with, as with `query`.
  // oxlint-disable-next-line typescript-eslint/no-unnecessary-type-parameters
  call<Result = unknown>(action: string, data?: unknown, options?: CallOptions): Promise<Result>
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
  /** The connection's, for whatever your modules keep with it; without a connection an empty one of this run. */
  readonly bag: Map<string, unknown>
}

export interface HookContext extends BaseContext {
  readonly user: string | null
  readonly session: string | null
  readonly connection: Connection | null
  /** As an action's. */
  readonly bag: Map<string, unknown>
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

/** A client has left a channel. */
export interface UnsubscribeEvent extends SubscribeRequest {
  /** It asked to, or was taken off; its connection has ended; so has its node. */
  readonly reason: 'unsubscribed' | 'disconnected' | 'node lost'
}

/** Of a node that was lost the context's `connection` only tells what was known of it. */
export type UnsubscribeHook = (event: UnsubscribeEvent, context: HookContext) => MaybePromise<void>

/** Somebody is on a channel where nobody was, or nobody any more, on all nodes. */
export interface OccupancyEvent extends SubscribeRequest {
  /** Milliseconds since 1970. */
  readonly time: number
}

/** The first subscriber of a channel has come. Once on all nodes, not on the one that it came to. */
export type OccupiedHook = (event: OccupancyEvent, context: BaseContext) => MaybePromise<void>

/** The last subscriber of a channel has left. */
export type VacatedHook = (event: OccupancyEvent, context: BaseContext) => MaybePromise<void>

/** Whose data is to be forgotten. */
export interface ForgetRequest {
  /** The user's id. */
  readonly user: string
  /** The database whose user it is, by its name in the config; null: the home one. */
  readonly database: string | null
}

/**
 * Forgets what the subsystem itself keeps of a user, and says how many records that were; nothing counts as none. It may
 * be asked again: what is gone already is no error. What the journal keeps of the user's channels goes afterwards.
 */
export type ForgetHook = (request: ForgetRequest, context: BaseContext) => MaybePromise<number | void>

/** What a `publish` hook is asked. */
export interface PublishRequest extends SubscribeRequest {
  readonly data: unknown
}

/** May this client publish this? The policy is asked first. False, or a thrown ClientError, refuses. */
export type PublishHook = (request: PublishRequest, context: HookContext) => MaybePromise<boolean>

/** What an `authenticate` hook is given: the handshake and, where there was one, the token. */
export interface Credentials {
  readonly token: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly cookies: Readonly<Record<string, string>>
  readonly address: string
  readonly query: Readonly<Record<string, string>>
  /** Whom a trusted proxy named (`auth.header`). */
  readonly user?: string
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
