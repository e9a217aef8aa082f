import type { Migrations } from '../database/migration.ts'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type {
  ActionContext,
  AuthenticateHook,
  CallHook,
  ConnectHook,
  DisconnectHook,
  ForgetHook,
  MessageHook,
  OccupiedHook,
  PublishHook,
  SenderDefinition,
  StartHook,
  SubscribeHook,
  UnsubscribeHook,
  VacatedHook,
} from './define.ts'
import type { MaybePromise } from '../sources/source.ts'

/** Keys of a subsystem that are no actions. */
export const RESERVED = [
  'sender',
  'subscribe',
  'unsubscribe',
  'publish',
  'occupied',
  'vacated',
  'forget',
] as const

/** Hooks of subsystems, by name. */
export interface SubsystemHooks {
  readonly subscribe: SubscribeHook
  readonly unsubscribe: UnsubscribeHook
  readonly publish: PublishHook
  readonly occupied: OccupiedHook
  readonly vacated: VacatedHook
  readonly forget: ForgetHook
}

/** An action, loaded and ready. */
export interface LoadedAction {
  readonly subsystem: string
  readonly name: string
  /** Where it came from: an absolute path, `package#export`, or `(inline)`. */
  readonly path: string
  readonly input: StandardSchemaV1 | null
  readonly handle: (input: unknown, context: ActionContext) => MaybePromise<unknown>
  /** Null: `limits.callMs`. */
  readonly timeoutMs: number | null
  /** Null: the subsystem's policy. */
  readonly access: 'public' | 'authenticated' | null
}

export interface LoadedSender {
  readonly subsystem: string
  readonly path: string
  readonly notify: readonly string[]
  readonly queue: string
  readonly route: SenderDefinition['route']
  readonly format: SenderDefinition['format'] | null
}

export interface LoadedHooks {
  readonly authenticate: AuthenticateHook | null
  readonly connect: ConnectHook | null
  readonly disconnect: DisconnectHook | null
  readonly message: MessageHook | null
  readonly call: CallHook | null
  readonly start: StartHook | null
}

/** One loaded module, for `livemessage actions` and for the log. */
export interface LoadedModule {
  /** `messages`, or `hooks`. */
  readonly subsystem: string
  readonly key: string
  readonly kind: 'action' | 'sender' | 'hook'
  readonly path: string
}

/** All that ACTIONS and hooks name, loaded. Immutable: a reload builds another one and swaps. */
export interface Registry {
  readonly subsystems: ReadonlySet<string>
  /** By `<subsystem>.<action>`. */
  readonly actions: ReadonlyMap<string, LoadedAction>
  /** By subsystem. */
  readonly senders: ReadonlyMap<string, LoadedSender>
  /** By NOTIFY name: the subsystems whose senders hear it. */
  readonly notify: ReadonlyMap<string, readonly string[]>
  /** `subscribe` hooks by subsystem. */
  readonly subscribe: ReadonlyMap<string, SubscribeHook>
  readonly unsubscribe: ReadonlyMap<string, UnsubscribeHook>
  readonly publish: ReadonlyMap<string, PublishHook>
  readonly occupied: ReadonlyMap<string, OccupiedHook>
  readonly vacated: ReadonlyMap<string, VacatedHook>
  readonly forget: ReadonlyMap<string, ForgetHook>
  readonly hooks: LoadedHooks
  /** Everything, in the order of the config. */
  readonly modules: readonly LoadedModule[]
  /** The tables that the modules bring, each component once. */
  readonly migrations: readonly Migrations[]
  /** Every file of the import graphs, for `--watch`. */
  readonly files: ReadonlySet<string>
}
