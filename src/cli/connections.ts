import type { Command } from 'commander'
import { askDaemon, keyOf } from './daemon-api.ts'
import { daemonPlace } from './daemon-place.ts'
import { type ConfigFlags, loadIfThere, print, withConfig } from './options.ts'
import { table } from './table.ts'

interface ConnectionsFlags extends ConfigFlags {
  readonly url?: string
  readonly key?: string
  readonly user?: string
  readonly database?: string
  readonly channel?: string
  readonly limit?: string
  readonly json?: boolean
}

/** What the server API tells; see docs/api.md. */
interface Listed {
  readonly connections: readonly {
    readonly node: string
    readonly session: string
    readonly user: string | null
    /** Whose user it is; null: the home one's. */
    readonly database?: string | null
    readonly address: string
    readonly transport: string
    readonly since: number
    readonly channels: readonly string[]
    readonly channelCount: number
  }[]
  readonly count: number
  readonly missing: readonly string[]
}

export function define(command: Command): void {
  withConfig(command)
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--key <key>', "an API key (default: LIVEMESSAGES_API_KEY, else the config's first)")
    .option('--user <id>', "one user's")
    .option('--database <name>', "with --user: whose user it is (default: the home database's)")
    .option('--channel <channel>', 'those on a channel')
    .option('--limit <n>', 'at the most, up to 1000 (default: 100)')
    .option('--json', 'as the daemon tells it')
    .action(async (flags: ConnectionsFlags) => show(flags))
    .addHelpText(
      'after',
      `
Of all nodes. Those that did not answer in time are named.

Examples:
  livemessage connections --channel chat:general
  livemessage connections --user ann --json | jq -r '.connections[].session'
`,
    )
}

async function show(flags: ConnectionsFlags): Promise<void> {
  const config = await loadIfThere(flags)
  const query = new URLSearchParams()
  for (const name of ['user', 'database', 'channel', 'limit'] as const) {
    if (flags[name] !== undefined) query.set(name, flags[name])
  }
  const body = await askDaemon({
    place: daemonPlace(flags.url, config),
    key: keyOf(flags, config),
    method: 'GET',
    path: `/api/connections?${query.toString()}`,
  })
  if (flags.json === true) return print(body)
  const { connections, count, missing }: Listed = JSON.parse(body)
  const rows = connections.map((one) => [
    one.session,
    `${one.user ?? '-'}${typeof one.database === 'string' ? ` of ${one.database}` : ''}`,
    one.address,
    one.transport,
    new Date(one.since).toISOString(),
    one.node,
    `${one.channels.slice(0, SHOWN).join(' ')}${one.channelCount > SHOWN ? ` … (${one.channelCount})` : ''}`,
  ])
  print(table(['SESSION', 'USER', 'ADDRESS', 'TRANSPORT', 'SINCE', 'NODE', 'CHANNELS'], rows))
  if (count > rows.length) print(`${count - rows.length} more`)
  if (missing.length > 0) print(`not told, for these nodes did not answer: ${missing.join(', ')}`)
}

/** Channels of a connection that a line has room for. */
const SHOWN = 3
