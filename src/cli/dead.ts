import { once } from 'node:events'
import { type Command, InvalidArgumentError } from 'commander'
import { isEmbedded } from '../config/config.ts'
import type { Config } from '../config/config.ts'
import type { LetterFilter } from '../dead-letter.ts'
import { LivemessageError } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { databaseError } from './database-error.ts'
import { letterQueue } from './letter-queue.ts'
import type { LetterStore, Selection, Work } from './letter-store.ts'
import { letterJson, letterTable as letterList, letterText, printable } from './letter-text.ts'
import { letterTable } from './letter-table.ts'
import { type ConfigFlags, load, print, usage, withConfig } from './options.ts'
import { Replay } from './replay.ts'

interface FilterFlags extends ConfigFlags {
  readonly source?: string
  readonly subsystem?: string
  readonly code?: string
}

interface ListFlags extends FilterFlags {
  readonly limit: number
  readonly json?: boolean
}

interface ShowFlags extends ConfigFlags {
  readonly json?: boolean
  readonly raw?: boolean
}

interface SettleFlags extends FilterFlags {
  readonly all?: boolean
}

export function define(command: Command): void {
  command.addHelpText(
    'after',
    `
What can't be handled, whatever it came from, is kept with its reason: in the table livemessage.dead where
there is a database, else in the queue livemessages.dead of the broker. There it can only be looked at by
taking it: the first 1000 letters are away for that moment, and go back in their order; of a longer queue they
go behind others that were looked at before.

Examples:
  livemessage dead list --subsystem chat
  livemessage dead show 17
  livemessage dead replay 17
  livemessage dead drop --all --code bad_payload
`,
  )
  defineList(command.command('list'))
  defineShow(command.command('show'))
  defineReplay(command.command('replay'))
  defineDrop(command.command('drop'))
}

function defineList(command: Command): void {
  withFilter(
    withConfig(command.description('the dead letters: the newest of the table, the oldest of the queue')),
  )
    .option('-n, --limit <n>', 'so many at the most', toCount, 20)
    .option('--json', 'as JSON, without their bodies')
    .action(async ({ limit, json, ...flags }: ListFlags) => {
      const { config } = await load(flags)
      await withStore(config, async (store) => {
        const { letters, total, note } = await store.list(filterOf(flags), limit)
        if (json === true) return print(JSON.stringify(letters.map(letterJson), null, 2))
        if (letters.length === 0) print(`no dead letters in the ${store.place}`)
        else print(letterList(letters))
        if (total > letters.length) print(`${letters.length} of ${total}: --limit shows more`)
        if (note !== null) print(note)
      })
    })
    .addHelpText(
      'after',
      `
Example:
  livemessage dead list --json --limit 1000 | jq -r '.[].code' | sort | uniq -c
`,
    )
}

function defineShow(command: Command): void {
  withConfig(command.description('one letter: why it died, its headers and its body'))
    .argument('<id>', "as 'livemessage dead list' shows it")
    .option('--json', 'as JSON, with all of the body')
    .option('--raw', 'the bytes of the body, and nothing else')
    .action(async (id: string, { json, raw, ...flags }: ShowFlags) => {
      const { config } = await load(flags)
      await withStore(config, async (store) => {
        const letter = await store.find(id)
        if (raw === true) await write(Buffer.from(letter.body ?? ''))
        else print(json === true ? JSON.stringify(letterJson(letter), null, 2) : letterText(letter))
      })
    })
    .addHelpText(
      'after',
      `
Examples:
  livemessage dead show 17
  livemessage dead show 17 --raw | jq .
`,
    )
}

function defineReplay(command: Command): void {
  withFilter(withConfig(command.description('give letters back to where they came from')))
    .argument('[id...]', "as 'livemessage dead list' shows them")
    .option('--all', 'all that the filter lets through')
    .action(async (ids: string[], flags: SettleFlags) => {
      const selection = selectionOf(ids, flags)
      const { config } = await load(flags)
      const replay = new Replay({
        broker: config.broker,
        openDatabase: (name) => openDatabase(config, name),
      })
      try {
        await settle(config, selection, { verb: 'replayed', work: (letter, db) => replay.send(letter, db) })
      } finally {
        await replay.close()
      }
    })
    .addHelpText(
      'after',
      `
A message goes back to its exchange with its own routing key, headers and message-id, and its letter goes when the
broker has confirmed it. A publication goes through livemessage.publish, a sender's own NOTIFY to that name again: in
the transaction that deletes its letter. Oldest first. What can't be replayed stays, says why, and the exit code is 1.

Examples:
  livemessage dead replay 17 18
  livemessage dead replay --all --subsystem mail --code failed
`,
    )
}

function defineDrop(command: Command): void {
  withFilter(withConfig(command.description('delete letters')))
    .argument('[id...]', "as 'livemessage dead list' shows them")
    .option('--all', 'all that the filter lets through')
    .action(async (ids: string[], flags: SettleFlags) => {
      const selection = selectionOf(ids, flags)
      const { config } = await load(flags)
      await settle(config, selection, { verb: 'dropped', work: (letter) => Promise.resolve(letter.code) })
    })
    .addHelpText(
      'after',
      `
Examples:
  livemessage dead drop 17
  livemessage dead drop --all --source amqp --code bad_payload
`,
    )
}

function withFilter(command: Command): Command {
  return command
    .option('--source <name>', 'only of this source: amqp, postgres, postgres:<database>')
    .option('--subsystem <name>', 'only of this subsystem')
    .option('--code <code>', 'only with this code: failed, bad_payload, too_large, …')
}

function filterOf({ source, subsystem, code }: FilterFlags): LetterFilter {
  return {
    ...(source === undefined ? {} : { source }),
    ...(subsystem === undefined ? {} : { subsystem }),
    ...(code === undefined ? {} : { code }),
  }
}

function selectionOf(ids: readonly string[], flags: SettleFlags): Selection {
  const filter = filterOf(flags)
  const isFiltered = Object.keys(filter).length > 0
  if (flags.all === true) {
    if (ids.length > 0) throw usage('--all: not with ids')
    return { filter }
  }
  if (ids.length === 0) throw usage(isFiltered ? 'to mean all of these, say --all' : 'expected ids, or --all')
  if (isFiltered) throw usage('--source, --subsystem and --code: not with ids, only with --all')
  return { ids: [...new Set(ids)] }
}

async function settle(
  config: Config,
  selection: Selection,
  { verb, work }: { readonly verb: string; readonly work: Work },
): Promise<void> {
  let done = 0
  let left = 0
  await withStore(config, async (store) => {
    try {
      for await (const outcome of store.settle(selection, work)) {
        if ('done' in outcome) {
          done++
          print(`${verb} ${outcome.letter.id}: ${printable(outcome.done)}`)
        } else {
          left++
          print(`${outcome.letter.id} stays: ${printable(outcome.stays)}`)
        }
      }
    } finally {
      if (done + left > 0) print(`${verb} ${done}${left > 0 ? `, ${left} stay` : ''} in the ${store.place}`)
    }
  })
  if (left > 0) {
    throw new LivemessageError(
      'LETTERS_LEFT',
      `${left} of ${done + left} letters could not be replayed, and are still there`,
    )
  }
}

async function withStore(config: Config, use: (store: LetterStore) => Promise<void>): Promise<void> {
  const store = await openStore(config)
  try {
    await use(store)
  } catch (error) {
    throw hasSqlState(error) ? databaseError(error) : error
  } finally {
    await store.close()
  }
}

/** The table where there is a database, whatever else there is: the daemon moves the queue's letters there. */
async function openStore(config: Config): Promise<LetterStore> {
  if (config.postgres !== null) {
    const { openHome } = await import('../database/home.ts')
    const home = await openHome(config.postgres, [], createLogger({ level: 'silent' }))
    return letterTable(home.pool, () => home.stop())
  }
  if (config.broker === null) {
    throw usage(
      'there are no dead letters without a database and without a broker: HTTP publishers are told at once',
    )
  }
  return letterQueue(config.broker)
}

/** Another database of the home's server. */
async function openDatabase(config: Config, name: string) {
  if (config.postgres === null || isEmbedded(config.postgres)) {
    throw usage(`the letter came from database ${name}, which the config does not reach`)
  }
  const { createDatabase } = await import('../database/pool.ts')
  const url = new URL(config.postgres.url)
  url.pathname = `/${encodeURIComponent(name)}`
  const pool = createDatabase({
    url: url.href,
    minConnections: 0,
    maxConnections: 1,
    cleanupTimeoutMs: 1000,
    log: createLogger({ level: 'silent' }),
  })
  return { db: pool, stop: () => pool.stop() }
}

/** What the server or the pool has thrown. */
function hasSqlState(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' && (/^(?=.*\d)[0-9A-Z]{5}$/.test(code) || code === 'unavailable')
}

async function write(bytes: Buffer): Promise<void> {
  if (!process.stdout.write(bytes)) await once(process.stdout, 'drain')
}

function toCount(text: string): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) === 0)
    throw new InvalidArgumentError('Expected a number from 1.')
  return Number(text)
}
