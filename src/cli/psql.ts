import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Command } from 'commander'
import { openHome } from '../database/home.ts'
import { LivemessageError } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { type ConfigFlags, load, withConfig } from './options.ts'

export function psqlCommand(): Command {
  return withConfig(new Command('psql'))
    .description("open psql on the daemon's database, the embedded one included")
    .argument('[arguments...]', 'further arguments for psql, after --')
    .action(async (more: string[], flags: ConfigFlags) => {
      const { config } = await load(flags)
      const home = await openHome(config.postgres, [], createLogger({ level: 'warn' }))
      try {
        if (home.url === null) throw new LivemessageError('USAGE', 'the config says postgres: false')
        process.exitCode = await run(home.url, more)
      } finally {
        await home.stop()
      }
    })
}

async function run(url: string, more: readonly string[]): Promise<number> {
  // By the environment: the command line, password and all, is for everyone to see.
  const { username, password, hostname, port, pathname } = new URL(url)
  const env = {
    ...process.env,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGHOST: hostname,
    PGPORT: port || '5432',
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
  }
  const child = spawn('psql', more, { stdio: 'inherit', env })
  // Ctrl-C is psql's to handle.
  process.on('SIGINT', () => undefined)
  try {
    const [code] = (await once(child, 'exit')) as [number | null]
    return code ?? 1
  } catch (error) {
    throw new LivemessageError(
      'USAGE',
      'psql is not installed: install the PostgreSQL client (on Debian: postgresql-client)',
      { cause: error },
    )
  }
}
