export type { ConfigInput, ChannelInput } from './config/input.ts'
export { defineConfig } from './config/define.ts'
export { secretFile } from './config/secret.ts'
export type { Config } from './config/config.ts'
export { loadConfig } from './config/load.ts'
export { loadRegistry } from './registry/load.ts'
export { defineAction, defineSender } from './registry/define.ts'
export type {
  AckOptions,
  ActionContext,
  ActionDefinition,
  AuthenticateHook,
  BaseContext,
  BroadcastOptions,
  CallHook,
  CallOptions,
  ConnectHook,
  Connection,
  ConnectionFilter,
  Connections,
  Credentials,
  Database,
  DisconnectHook,
  Emitted,
  EmitOptions,
  EmitTarget,
  EventAck,
  HookContext,
  MessageHook,
  OccupancyEvent,
  OccupiedHook,
  Present,
  PublishHook,
  PublishOptions,
  PublishRequest,
  SenderDefinition,
  StartHook,
  ForgetHook,
  ForgetRequest,
  SubscribeHook,
  SubscribeRequest,
  Transaction,
  UnsubscribeEvent,
  UnsubscribeHook,
  User,
  VacatedHook,
} from './registry/define.ts'
export type { Migration, Migrations } from './database/migration.ts'
export type { Notification } from './sources/source.ts'
export { ClientError, type ErrorCode } from './protocol/codes.ts'
export type { Signal, SignalName } from './signals/signal.ts'
export { verifyWebhook, type VerifyOptions, type WebhookRequest } from './signals/signature.ts'
export { userChannel } from './protocol/names.ts'
export { ConfigError, LivemessageError, type ErrorName, type Problem } from './errors.ts'
export { Daemon, type DaemonOptions, type Started } from './daemon.ts'
export { createLogger, type LoggerOptions } from './ops/logger.ts'
export type { Log } from './ops/log.ts'
export { VERSION } from './version.ts'
