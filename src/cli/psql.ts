import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Command } from 'commander'
import { withDatabase } from '../config/databases.ts'
import { openHome } from '../database/home.ts'
import { ConfigError, type LivemessageError } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { type ConfigFlags, load, usage, withConfig } from './options.ts'

interface PsqlFlags extends ConfigFlags {
  readonly database?: string
}

export function define(command: Command): void {
  withConfig(command)
    .argument('[arguments...]', "psql's own arguments, after --")
    .option('-d, --database <name>', 'another database of the same server (default: the home one)')
    .action(async (more: string[], { database, ...flags }: PsqlFlags) => {
      const { config } = await load(flags).catch((error: unknown) => {
        throw meantForPsql(error, flags) ?? error
      })
      const home = await openHome(config.postgres, [], createLogger({ level: 'silent' }))
      try {
        if (home.url === null) throw usage('there is no database: the config says postgres: false')
        process.exitCode = await run(
          database === undefined ? home.url : withDatabase(home.url, database),
          more,
        )
      } finally {
        await home.stop()
      }
    })
    .addHelpText(
      'after',
      `
Examples:
  livemessage psql
  livemessage psql -d shop
  livemessage psql -- -c "select livemessage.publish('chat:general', '{\\"text\\":\\"hello\\"}')"
`,
    )
}

/** psql has a `-c` of its own, for a statement. */
function meantForPsql(error: unknown, { config }: ConfigFlags): LivemessageError | null {
  if (config === undefined || !(error instanceof ConfigError) || error.code !== 'CONFIG_NOT_FOUND')
    return null
  const message = `no config file '${config}'; psql's own arguments come after --, as in: livemessage psql -- -c "select 1"`
  return usage(message, error)
}

async function run(address: string, more: readonly string[]): Promise<number> {
  // The password goes by the environment: command lines are for everyone to see.
  const url = new URL(address)
  const password = url.searchParams.get('password') ?? decodeURIComponent(url.password)
  url.password = ''
  url.searchParams.delete('password')
  const env = { ...process.env, ...(password === '' ? {} : { PGPASSWORD: password }) }
  const child = spawn('psql', ['--dbname', url.href, ...more], { stdio: 'inherit', env })
  // Ctrl-C is psql's to handle.
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  try {
    const [code] = (await once(child, 'exit')) as [number | null]
    return code ?? 1
  } catch (error) {
    throw usage('psql is not installed: install the PostgreSQL client (on Debian: postgresql-client)', error)
  } finally {
    process.off('SIGINT', ignore)
  }
}
