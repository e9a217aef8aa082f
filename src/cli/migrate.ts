import { Command } from 'commander'
import { openHome } from '../database/home.ts'
import { CORE, migrate } from '../database/migrate.ts'
import { LivemessageError } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { loadRegistry } from '../registry/load.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'

export function migrateCommand(): Command {
  return withConfig(new Command('migrate'))
    .description("install or update the schema `livemessage`, and the subsystems' own tables")
    .option('--dry-run', 'print the SQL and change nothing')
    .action(async ({ dryRun = false, ...flags }: ConfigFlags & { dryRun?: boolean }) => {
      const { config, loader } = await load(flags)
      const { migrations } = await loadRegistry(config, loader)
      const home = await openHome(config.postgres, [], createLogger({ level: 'warn' }))
      try {
        if (home.url === null) {
          throw new LivemessageError(
            'USAGE',
            'there is no database to migrate: the config says postgres: false',
          )
        }
        const result = await migrate(home.url, { components: [CORE, ...migrations], dryRun })
        print(dryRun ? (result.sql ?? '-- nothing to do') : describe(result))
      } finally {
        await home.stop()
      }
    })
}

function describe(result: Awaited<ReturnType<typeof migrate>>): string {
  if (result.applied.length === 0) return 'nothing to do: the schema is up to date'
  return result.applied
    .map(({ component, version, name }) => `applied ${component} ${version}: ${name}`)
    .join('\n')
}
