import { Command, CommanderError } from 'commander'
import { LivemessageError, messageOf } from '../errors.ts'
import { VERSION } from '../version.ts'

interface Entry {
  readonly name: string
  readonly summary: string
  /** Its arguments, options and action: loaded for those who ask for this command. */
  readonly load: () => Promise<{ define(command: Command): unknown }>
}

const COMMANDS: readonly Entry[] = [
  {
    name: 'start',
    summary: 'start the daemon',
    load: () => import('./start.ts'),
  },
  {
    name: 'check',
    summary: 'check the config and every module that it names, without starting',
    load: () => import('./check.ts'),
  },
  {
    name: 'actions',
    summary: 'show every action, sender and hook, and the file that each comes from',
    load: () => import('./actions.ts'),
  },
  {
    name: 'init',
    summary: 'write a config and one action to start from; nothing is overwritten',
    load: () => import('./init.ts'),
  },
  {
    name: 'publish',
    summary: 'publish JSON to a channel: by HTTP, or by SQL or AMQP',
    load: () => import('./publish.ts'),
  },
  {
    name: 'listen',
    summary: 'subscribe to channels and print what comes',
    load: () => import('./listen.ts'),
  },
  {
    name: 'token',
    summary: 'print a token of a user, signed with the secret of the config: for trying things out',
    load: () => import('./token.ts'),
  },
  {
    name: 'migrate',
    summary: "install or update the daemon's and the subsystems' tables",
    load: () => import('./migrate.ts'),
  },
  {
    name: 'connections',
    summary: 'show who is connected, on all nodes',
    load: () => import('./connections.ts'),
  },
  {
    name: 'disconnect',
    summary: 'end connections, on all nodes; with --revoke refuse their sessions from now on',
    load: () => import('./disconnect.ts'),
  },
  {
    name: 'psql',
    summary: "open psql on the daemon's database, the embedded one included",
    load: () => import('./psql.ts'),
  },
  {
    name: 'dead',
    summary: "look at, replay or drop what couldn't be handled",
    load: () => import('./dead.ts'),
  },
  {
    name: 'journal',
    summary: 'show the state of the journal, or begin a new epoch',
    load: () => import('./journal.ts'),
  },
  {
    name: 'forget',
    summary: "forget publications, a channel, or all of a user's data, on all nodes",
    load: () => import('./forget.ts'),
  },
  {
    name: 'haproxy',
    summary: 'print a config of HAProxy, nginx or Apache for the nodes',
    load: () => import('./haproxy.ts'),
  },
]

const FOOT = `
Examples:
  livemessage init                                       write a config and an action to start from
  livemessage start --dev                                start the daemon with its demo page
  livemessage listen chat:general                        see what comes on a channel
  livemessage publish chat:general '{"text":"hello"}'    publish by HTTP; --sql, --amqp: the other ways

'livemessage help <command>' tells more about each.
Exit codes: 0 well done, 1 unexpected, 2 wrong config or usage, 3 something that is needed can't be reached.
`

/**
 * The command `livemessage`. Exit codes: 0 well done; 1 unexpected; 2 a config or a usage that is wrong;
 * 3 a dependency that can't be reached.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('livemessage')
    .description('A push daemon: what an application says in SQL, AMQP or HTTP reaches its browsers.')
    .version(VERSION)
    .option('--verbose', 'show the stack of an error')
    .addHelpText('after', FOOT)
    .hook('preAction', (_program, command) => {
      if (command.name() !== 'start') endWithReader()
    })
  prepare(program)
  for (const { name, summary, load } of COMMANDS) {
    const command = prepare(program.command(name).description(summary))
    if (argv.includes(name)) {
      const { define } = await load()
      define(command)
      command.option('--verbose', 'show the stack of an error')
    }
  }
  try {
    await program.parseAsync([...argv])
  } catch (error) {
    process.exitCode = report(error, argv.includes('--verbose'))
  }
}

function prepare(command: Command): Command {
  return command
    .exitOverride()
    .showHelpAfterError('(livemessage --help tells more)')
    .configureHelp({
      helpWidth: Math.min(process.stdout.columns ?? 100, 100),
      subcommandTerm: (sub) => sub.name(),
    })
}

/** Whoever reads our output may leave, as `head` does: that ends the command, and is no error. A daemon goes on. */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
}

/** Prints what went wrong; answers with the exit code. */
function report(error: unknown, verbose: boolean): number {
  // Commander has printed its own already: help and version end with 0, wrong usage with 2.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const known = error instanceof LivemessageError
  const text = known ? `${error.code}: ${error.message}` : `INTERNAL: ${messageOf(error)}`
  process.stderr.write(`livemessage: ${text}\n${verbose || !known ? stackOf(error) : ''}`)
  return known ? error.exitCode : 1
}

/** The frames of the error, and of what caused it. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const { stack = '', cause } = error
  const frames = stack.slice(Math.max(0, stack.search(/^ +at /m)))
  return `${frames}\n${cause === undefined ? '' : `  caused by: ${messageOf(cause)}\n${stackOf(cause)}`}`
}
