import type { ConfigInput } from './input.ts'

/** Types a config file: `export default defineConfig({ ACTIONS: { … } })`. A function of it may be async. */
export function defineConfig<Input extends ConfigInput | (() => ConfigInput | Promise<ConfigInput>)>(
  input: Input,
): Input {
  return input
}
