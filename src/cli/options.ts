import type { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { loadConfig, type Loaded } from '../config/load.ts'
import type { Flags } from '../config/settings.ts'
import { ConfigError } from '../errors.ts'

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

/** @throws {ConfigError} */
export function load(flags: ConfigFlags & Flags): Promise<Loaded> {
  const { config: file, ...rest } = flags
  return loadConfig({
    cwd: process.cwd(),
    ...(file === undefined ? {} : { file }),
    flags: rest,
    env: process.env,
  })
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

export function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}
