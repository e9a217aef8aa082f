import path from 'node:path'
import { Command } from 'commander'
import { loadRegistry } from '../registry/load.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'
import { table } from './table.ts'

export function actionsCommand(): Command {
  return withConfig(new Command('actions'))
    .description('show every action, sender and hook, and the file that each comes from')
    .option('--json', 'as JSON')
    .action(async (flags: ConfigFlags & { json?: boolean }) => {
      const { json, ...rest } = flags
      const { config, loader } = await load(rest)
      const { modules } = await loadRegistry(config, loader)
      if (json === true) return print(JSON.stringify(modules, null, 2))
      const rows = modules.map((module) => [
        module.subsystem,
        module.key,
        module.kind,
        path.isAbsolute(module.path) ? path.relative(process.cwd(), module.path) : module.path,
      ])
      print(table(['SUBSYSTEM', 'NAME', 'KIND', 'PATH'], rows))
    })
}
