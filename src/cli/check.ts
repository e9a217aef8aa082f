import type { Command } from 'commander'
import { createLogger } from '../ops/logger.ts'
import { buildRules } from '../rules.ts'
import { loadVersion } from './load-version.ts'
import { type ConfigFlags, print, withConfig } from './options.ts'

export function define(command: Command): void {
  withConfig(command)
    .action(async (flags: ConfigFlags) => {
      const { config, registry, warnings } = await loadVersion(flags)
      // Keys that are none, origins and proxies: what the daemon itself would refuse.
      buildRules(config, registry, createLogger({ level: 'silent' }))
      for (const warning of warnings) print(`warning: ${warning}`)
      const count = registry.modules.length === 1 ? '1 module' : `${registry.modules.length} modules`
      const subsystems = [...config.channels.keys()].join(', ')
      print(`${config.file ?? 'the config'} is fine: ${count}, subsystems: ${subsystems || 'none'}`)
    })
    .addHelpText(
      'after',
      `
Tells every problem at once, each with its key, what was expected and what came; exit code 2 then.

Examples:
  livemessage check
  NODE_ENV=production livemessage check -c /etc/livemessages/livemessages.config.ts
`,
    )
}
