import type { Command } from 'commander'
import { openHome } from '../database/home.ts'
import { CORE, migrate, type MigrateOutcome } from '../database/migrate.ts'
import { createLogger } from '../ops/logger.ts'
import { loadVersion } from './load-version.ts'
import { type ConfigFlags, print, usage, withConfig } from './options.ts'

interface MigrateFlags extends ConfigFlags {
  readonly dryRun?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .option('--dry-run', 'print the SQL that would run, for psql, and change nothing')
    .action(async ({ dryRun = false, ...flags }: MigrateFlags) => {
      const { config, registry } = await loadVersion(flags)
      const home = await openHome(config.postgres, null, createLogger({ level: 'silent' }))
      try {
        if (home.url === null) throw usage('there is no database to migrate: the config says postgres: false')
        const outcome = await migrate(home.url, { components: [CORE, ...registry.migrations], dryRun })
        print(dryRun ? scriptOf(outcome) : reportOf(outcome))
        for (const notice of outcome.notices) process.stderr.write(`notice: ${notice}\n`)
      } finally {
        await home.stop()
      }
    })
    .addHelpText(
      'after',
      `
All of it or nothing, and again without harm. Needs a role that may create schemas; the embedded server is
brought up to date at each start as well.

Examples:
  livemessage migrate
  livemessage migrate --dry-run > livemessages.sql
`,
    )
}

function reportOf({ applied, to }: MigrateOutcome): string {
  const versions = Object.entries(to).map(([component, version]) => `${component} ${version}`)
  if (applied.length === 0) return `up to date: ${versions.join(', ')}`
  return applied.map(({ component, version, name }) => `applied ${component} ${version}: ${name}`).join('\n')
}

function scriptOf({ applied, sql }: MigrateOutcome): string {
  return applied.length === 0 ? '-- nothing to do: the schema is up to date' : (sql ?? '')
}
