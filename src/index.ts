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
  CallHook,
  ConnectHook,
  Connection,
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
  Present,
  PublishOptions,
  SenderDefinition,
  StartHook,
  SubscribeHook,
  SubscribeRequest,
  User,
} from './registry/define.ts'
export type { Migration, Migrations } from './database/migration.ts'
export type { Notification } from './sources/source.ts'
export { ClientError, type ErrorCode } from './protocol/codes.ts'
export { userChannel } from './protocol/names.ts'
export { ConfigError, LivemessageError, type ErrorName, type Problem } from './errors.ts'
export { Daemon, type DaemonOptions, type Started } from './daemon.ts'
export { createLogger, type LoggerOptions } from './ops/logger.ts'
export type { Log } from './ops/log.ts'
export { VERSION } from './version.ts'
