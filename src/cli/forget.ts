import type { Command } from 'commander'
import { LivemessageError } from '../errors.ts'
import { askDaemon, keyOf } from './daemon-api.ts'
import { daemonPlace } from './daemon-place.ts'
import { type ConfigFlags, loadIfThere, print, withConfig } from './options.ts'

interface ForgetFlags extends ConfigFlags {
  readonly url?: string
  readonly key?: string
  readonly channel?: string
  readonly id?: readonly string[]
  readonly conflated?: string
  readonly user?: string
  readonly database?: string
  readonly json?: boolean
}

/** What the server API tells; see docs/forgetting.md. */
interface Told {
  readonly forgotten: number
  readonly letters: number
  readonly missing: readonly string[]
  readonly mailboxes?: number
  readonly records?: number
}

export function define(command: Command): void {
  withConfig(command)
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--key <key>', "an API key (default: LIVEMESSAGES_API_KEY, else the config's first)")
    .option('--channel <channel>', 'all of a channel')
    .option('--id <cursor...>', 'with --channel: these publications of it only')
    .option('--conflated <key>', 'with --channel: one key of a conflated channel')
    .option('--user <id>', "all of a user's data")
    .option('--database <name>', "with --user: whose user it is (default: the home database's)")
    .option('--json', 'as the daemon tells it')
    .action(async (flags: ForgetFlags) => forget(flags))
    .addHelpText(
      'after',
      `
On all nodes, for good; what clients have, they have. It may be repeated.

Examples:
  livemessage forget --channel chat:general --id 3kf9a1-1041
  livemessage forget --channel chat:general
  livemessage forget --user 42
`,
    )
}

async function forget(flags: ForgetFlags): Promise<void> {
  const { channel, id, conflated, user, database } = flags
  if ((channel === undefined) === (user === undefined)) {
    throw new LivemessageError('USAGE', 'forget: say one of --channel, --user')
  }
  const config = await loadIfThere(flags)
  const body = await askDaemon({
    place: daemonPlace(flags.url, config),
    key: keyOf(flags, config),
    method: 'POST',
    path: '/api/forget',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ channel, ids: id, key: conflated, user, database }),
  })
  if (flags.json === true) return print(body)
  const told: Told = JSON.parse(body)
  const parts = [
    `${told.forgotten} ${told.forgotten === 1 ? 'publication' : 'publications'}`,
    `${told.letters} dead ${told.letters === 1 ? 'letter' : 'letters'}`,
    ...(told.records === undefined
      ? []
      : [`${told.records} ${told.records === 1 ? 'record' : 'records'} of subsystems`]),
    ...(told.mailboxes === undefined
      ? []
      : [`${told.mailboxes} ${told.mailboxes === 1 ? 'place' : 'places'} in mailboxes`]),
  ]
  print(`forgotten: ${parts.join(', ')}`)
  if (told.missing.length > 0) {
    print(`not confirmed by these nodes, which forget it as they catch up: ${told.missing.join(', ')}`)
  }
}
