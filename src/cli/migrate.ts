import type { Command } from 'commander'
import { openHome } from '../database/home.ts'
import { CORE, migrate, type MigrateOutcome } from '../database/migrate.ts'
import type { Migrations } from '../database/migration.ts'
import { createLogger } from '../ops/logger.ts'
import { loadVersion } from './load-version.ts'
import { type ConfigFlags, print, usage, withConfig } from './options.ts'

interface MigrateFlags extends ConfigFlags {
  readonly databases?: string
  readonly dryRun?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .option('-d, --databases <names>', 'all databases, separated by commas (default: those of the config)')
    .option('--dry-run', 'print the SQL that would run, for psql, and change nothing')
    .action(async ({ dryRun = false, ...flags }: MigrateFlags) => {
      const { config, registry } = await loadVersion(flags)
      const home = await openHome(config.postgres, null, createLogger({ level: 'silent' }))
      try {
        if (home.url === null) throw usage('there is no database to migrate: the config says postgres: false')
        const { databases } = config
        const outboxes = home.further.map(({ name, url }) => ({ name, url, outbox: true }))
        const all = [{ name: databases.home ?? '', url: home.url, outbox: false }, ...outboxes]
        const components = [CORE, ...registry.migrations]
        const failures: unknown[] = []
        for (const database of all) {
          const heading = all.length === 1 ? '' : `${database.name}: `
          try {
            await migrateOne(database, { components, dryRun }, heading)
          } catch (error) {
            // The others are not in its way: each is migrated that can be.
            if (all.length > 1) process.stderr.write(`${database.name}: not migrated\n`)
            failures.push(error)
          }
        }
        if (failures.length > 0) throw failures[0]
      } finally {
        await home.stop()
      }
    })
    .addHelpText(
      'after',
      `
Each database of the config or of -d: all of it or nothing, and again without harm. Needs a role that may
create schemas; the embedded server is brought up to date at each start as well.

Examples:
  livemessage migrate
  livemessage migrate -d shop,blog
  livemessage migrate --dry-run > livemessages.sql
`,
    )
}

interface Target {
  readonly name: string
  readonly url: string
  readonly outbox: boolean
}

async function migrateOne(
  { name, url, outbox }: Target,
  options: { readonly components: readonly Migrations[]; readonly dryRun: boolean },
  heading: string,
): Promise<void> {
  const { dryRun } = options
  // Told at once, and not by the first daemon: what is published before would be in a journal that nobody reads.
  const database = { name, outbox }
  const alone = heading === ''
  const outcome = await migrate(url, { ...options, ...(alone ? {} : { database }) })
  if (dryRun && !alone) print(`\\connect "${name}"`)
  print(dryRun ? scriptOf(outcome) : `${heading}${reportOf(outcome)}`)
  for (const notice of outcome.notices) process.stderr.write(`notice: ${heading}${notice}\n`)
}

function reportOf({ applied, to }: MigrateOutcome): string {
  const versions = Object.entries(to).map(([component, version]) => `${component} ${version}`)
  if (applied.length === 0) return `up to date: ${versions.join(', ')}`
  return applied.map(({ component, version, name }) => `applied ${component} ${version}: ${name}`).join('\n')
}

function scriptOf({ applied, sql }: MigrateOutcome): string {
  return applied.length === 0 ? '-- nothing to do: the schema is up to date' : (sql ?? '')
}
