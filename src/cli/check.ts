import { Command } from 'commander'
import { loadRegistry } from '../registry/load.ts'
import { buildRules } from '../rules.ts'
import { createLogger } from '../ops/logger.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'

export function checkCommand(): Command {
  return withConfig(new Command('check'))
    .description('check the config and every module that it names, without starting; exit code 2 when wrong')
    .action(async (flags: ConfigFlags) => {
      const { config, loader, warnings } = await load(flags)
      const registry = await loadRegistry(config, loader)
      buildRules(config, registry, createLogger({ level: 'silent' }))
      for (const warning of warnings) print(`warning: ${warning}`)
      const subsystems = [...config.channels.keys()].join(', ')
      print(
        `${config.file ?? 'the config'} is fine: ${registry.modules.length} modules, subsystems ${subsystems}`,
      )
    })
}
