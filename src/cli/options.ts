import type { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { type Loaded, loadConfig, type LoadOptions } from '../config/load.ts'
import type { Flags } from '../config/settings.ts'
import { ConfigError, LivemessageError } from '../errors.ts'

/** What every command that reads the config takes. */
export interface ConfigFlags {
  readonly config?: string
  readonly ini?: string
}

export function withConfig(command: Command): Command {
  return command
    .option(
      '-c, --config <file>',
      'config file (default: livemessages.config.{ts,js,mjs,json} here or above)',
    )
    .option('--ini <file>', 'INI file with a [livemessages] section (default: livemessages.ini)')
}

/** Where the config of these flags is to be looked for. */
export function whereOf({ config: file, ...flags }: ConfigFlags & Flags): LoadOptions {
  return { cwd: process.cwd(), ...(file === undefined ? {} : { file }), flags, env: process.env }
}

/** @throws {ConfigError} */
export function load({ config, ini }: ConfigFlags): Promise<Loaded> {
  return loadConfig(
    whereOf({ ...(config === undefined ? {} : { config }), ...(ini === undefined ? {} : { ini }) }),
  )
}

/** The config where there is one; null where none was found and none was named. */
export async function loadIfThere(flags: ConfigFlags): Promise<Config | null> {
  try {
    return (await load(flags)).config
  } catch (error) {
    const missing = error instanceof ConfigError && error.code === 'CONFIG_NOT_FOUND'
    if (missing && flags.config === undefined) return null
    throw error
  }
}

export function usage(message: string, cause?: unknown): LivemessageError {
  return new LivemessageError('USAGE', message, cause === undefined ? {} : { cause })
}

export function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}
