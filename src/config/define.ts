import type { MaybePromise } from '../sources/source.ts'
import type { ConfigInput } from './input.ts'

/** A function that makes the config. */
export type ConfigFunction = () => MaybePromise<ConfigInput>

/** Types a config, or the function that makes it; returns it as it is. */
// Overloads: a type parameter would take keys that no config has.
export function defineConfig(config: ConfigInput): ConfigInput
export function defineConfig(config: ConfigFunction): ConfigFunction
export function defineConfig(config: ConfigInput | ConfigFunction): ConfigInput | ConfigFunction {
  return config
}
