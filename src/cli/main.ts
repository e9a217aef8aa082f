import { Command, CommanderError } from 'commander'
import { LivemessageError, messageOf } from '../errors.ts'
import { VERSION } from '../version.ts'
import { actionsCommand } from './actions.ts'
import { checkCommand } from './check.ts'
import { initCommand } from './init.ts'
import { listenCommand } from './listen.ts'
import { migrateCommand } from './migrate.ts'
import { psqlCommand } from './psql.ts'
import { publishCommand } from './publish.ts'
import { startCommand } from './start.ts'

/**
 * The command `livemessage`. Exit codes: 0 well done; 1 unexpected; 2 a config or a usage that is wrong;
 * 3 a dependency that can't be reached.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('livemessage')
    .description('A push daemon: what an application says in SQL, AMQP or HTTP reaches its browsers.')
    .version(VERSION)
    .option('--verbose', 'show the stack of an error')
    .showHelpAfterError('(livemessage --help tells more)')
    .exitOverride()
    .configureHelp({ sortSubcommands: false })
  for (const command of [
    startCommand(),
    checkCommand(),
    actionsCommand(),
    initCommand(),
    publishCommand(),
    listenCommand(),
    migrateCommand(),
    psqlCommand(),
  ]) {
    program.addCommand(command.exitOverride().showHelpAfterError('(livemessage --help tells more)'))
  }
  try {
    await program.parseAsync([...argv])
  } catch (error) {
    process.exitCode = report(error, program.opts<{ verbose?: boolean }>().verbose === true)
  }
}

/** Prints what went wrong; answers with the exit code. */
function report(error: unknown, verbose: boolean): number {
  // Commander has printed its own already: help and version end with 0, wrong usage with 2.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const known = error instanceof LivemessageError
  const text = known ? `${error.code}: ${error.message}` : messageOf(error)
  const stack = error instanceof Error && (verbose || !known) ? `\n${error.stack ?? ''}` : ''
  process.stderr.write(`livemessage: ${text}${stack}\n`)
  return known ? error.exitCode : 1
}
