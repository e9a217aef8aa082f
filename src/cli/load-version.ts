import path from 'node:path'
import type { Config } from '../config/config.ts'
import { examineConfig } from '../config/load.ts'
import { secretFile } from '../config/secret.ts'
import type { Flags } from '../config/settings.ts'
import { ConfigError, type Problem } from '../errors.ts'
import { loadRegistry } from '../registry/load.ts'
import type { Registry } from '../registry/registry.ts'
import { type ConfigFlags, whereOf } from './options.ts'

/** Config and modules, of one and the same moment. */
export interface Version {
  readonly config: Config
  readonly registry: Registry
  readonly warnings: readonly string[]
}

/**
 * Loads the config and every module that it names.
 * @param onFile told of each file before it is loaded, those included that then fail
 * @throws {ConfigError} with every problem of both, not only those of the config
 */
export async function loadVersion(
  flags: ConfigFlags & Flags,
  onFile?: (file: string) => void,
): Promise<Version> {
  const examined = await examineConfig({
    ...whereOf(flags),
    ...(onFile === undefined ? {} : { loader: { onFile } }),
  })
  const { config, loader, warnings, problems } = examined
  const [registry, others] = await problemsOf(() => loadRegistry(config, loader))
  const all = [...problems, ...others]
  if (registry === null || all.length > 0) throw new ConfigError(all, config.file)
  return { config: config.dev ? withSecret(config) : config, registry, warnings }
}

/** The value, or what is wrong with the config. */
export async function problemsOf<T>(
  work: () => T | Promise<T>,
): Promise<readonly [T, readonly []] | readonly [null, readonly Problem[]]> {
  try {
    return [await work(), []]
  } catch (error) {
    if (error instanceof ConfigError) return [null, error.problems]
    throw error
  }
}

/** The demo page signs tokens for whoever asks, which only this machine can: with a secret of its own. */
function withSecret(config: Config): Config {
  if (config.auth.jwt.length > 0) return config
  const secret = secretFile(path.join(config.root, '.livemessages', 'jwt-secret'))
  return { ...config, auth: { ...config.auth, jwt: [{ secret, algorithms: ['HS256'] }] } }
}
