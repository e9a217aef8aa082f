import { type Command, Option } from 'commander'
import { parseDuration } from '../config/units.ts'
import { askDaemon, keyOf } from './daemon-api.ts'
import { daemonPlace } from './daemon-place.ts'
import { type ConfigFlags, loadIfThere, print, usage, withConfig } from './options.ts'

interface DisconnectFlags extends ConfigFlags {
  readonly url?: string
  readonly key?: string
  readonly user?: string
  readonly session?: string
  readonly token?: string
  readonly database?: string
  readonly revoke?: boolean
  readonly undo?: boolean
  readonly for?: string
  readonly reason?: string
}

/** What the server API tells; see docs/api.md. */
interface Answer {
  readonly count?: number
  readonly missing: readonly string[]
  readonly until?: number
  readonly lifted?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--key <key>', "an API key (default: LIVEMESSAGES_API_KEY, else the config's first)")
    .option('--user <id>', 'all connections of a user')
    .option('--session <name>', 'one connection')
    .option('--token <jti>', 'all connections of one token; with --revoke')
    .option('--database <name>', "with --user: whose user it is (default: the home database's)")
    .option('--revoke', 'and refuse the session from now on: who signs in anew is let in')
    .addOption(new Option('--undo', 'take a revocation back').conflicts(['revoke', 'session']))
    .option('--for <duration>', 'how long: no less than what a token lives (default: 24h)')
    .option('--reason <text>', 'told to the client')
    .action(async (flags: DisconnectFlags) => disconnect(flags))
    .addHelpText(
      'after',
      `
On all nodes. Without --revoke its client may come back at once. With it tokens are refused that were issued
until now; the application of auth.url is asked anew: end the session there first.

Examples:
  livemessage disconnect --user 42
  livemessage disconnect --user 42 --revoke --for 24h
  livemessage disconnect --user 42 --undo
`,
    )
}

async function disconnect(flags: DisconnectFlags): Promise<void> {
  const { user, session, token, database, reason } = flags
  const undo = flags.undo === true
  if (database !== undefined && user === undefined) throw usage('--database: only with --user')
  const named = [user, session, token].filter((one) => one !== undefined)
  if (named.length !== 1) throw usage('expected one of --user, --session, --token')
  if (flags.revoke !== true && !undo) {
    const only = Object.entries({ token, for: flags.for }).find(([, one]) => one !== undefined)
    if (only !== undefined) throw usage(`--${only[0]}: only with --revoke`)
  }
  if (flags.for !== undefined && parseDuration(flags.for) === null) {
    throw usage(`--for: expected a duration such as '24h', got '${flags.for}'`)
  }
  const config = await loadIfThere(flags)
  const body = await askDaemon({
    place: daemonPlace(flags.url, config),
    key: keyOf(flags, config),
    method: 'POST',
    path: undo ? '/api/unrevoke' : flags.revoke === true ? '/api/revoke' : '/api/disconnect',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ user, session, token, database, reason, for: flags.for }),
  })
  const { count, missing, until, lifted }: Answer = JSON.parse(body)
  if (lifted !== undefined) print(lifted ? 'taken back' : 'nothing of that kind was revoked')
  else
    print(
      `${count} ${count === 1 ? 'connection' : 'connections'} closed${until === undefined ? '' : `, refused until ${new Date(until).toISOString()}`}`,
    )
  if (missing.length === 0) return
  const later = flags.revoke === true || undo ? '; with a database they read of it within seconds' : ''
  print(`not told, for these nodes did not answer: ${missing.join(', ')}${later}`)
}
