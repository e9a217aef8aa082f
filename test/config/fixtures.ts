import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { LoadOptions, Loaded } from '../../src/config/load.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Namespace } from '../../src/config/modules.ts'
import { defineConfig } from '../../src/config/define.ts'
import { ConfigError } from '../../src/errors.ts'
import { defineAction, defineSender } from '../../src/registry/define.ts'

/** What user modules of these tests import from 'livemessages'. */
export const self = (): Promise<Namespace> => Promise.resolve({ defineConfig, defineAction, defineSender })

/** Loads a config as the command does, its transformed modules not kept. */
export function load(cwd: string, options: Omit<LoadOptions, 'cwd'> = {}): Promise<Loaded> {
  return loadConfig({ cwd, ...options, loader: { self, cache: false, ...options.loader } })
}

/** The ConfigError that the work ends with. */
export async function configError(work: Promise<unknown>): Promise<ConfigError> {
  try {
    await work
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('expected a ConfigError, got none')
}

/** Writes files, by their path in a folder. */
export function write(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
}
