import type { Command } from 'commander'
import { openLink } from '../broker/connection.ts'
import { isNotFound } from '../broker/queue.ts'
import type { BrokerConfig, Config } from '../config/config.ts'
import { type JournalStatus, readJournalStatus } from '../database/journal-status.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import type { Database } from '../registry/define.ts'
import { databaseError } from './database-error.ts'
import { printable } from './letter-text.ts'
import { type ConfigFlags, load, print, usage, withConfig } from './options.ts'

interface StatusFlags extends ConfigFlags {
  readonly json?: boolean
}

interface EpochFlags extends ConfigFlags {
  readonly yes?: boolean
  readonly reason?: string
}

export function define(command: Command): void {
  command.addHelpText(
    'after',
    `
Examples:
  livemessage journal status
  livemessage journal new-epoch --yes --reason 'restored from the backup of Monday'
`,
  )
  withConfig(command.command('status').description('its epoch, head, size, floors, leader and queues'))
    .option('--json', 'as JSON')
    .action(async ({ json, ...flags }: StatusFlags) => {
      const { config } = await load(flags)
      if (config.journal === 'memory') {
        const text =
          'in the memory of the one daemon that runs: /metrics of that daemon tells its head and size'
        return print(json === true ? JSON.stringify({ kind: 'memory' }) : `kind:     memory, ${text}`)
      }
      if (config.journal === 'rabbitmq') {
        const status = await streamStatus(config)
        return print(
          json === true ? JSON.stringify({ kind: 'rabbitmq', ...status }, null, 2) : streamText(status),
        )
      }
      const status = await withDatabase(config, readJournalStatus)
      print(json === true ? JSON.stringify({ kind: 'postgres', ...status }, null, 2) : statusText(status))
    })
  withConfig(command.command('new-epoch').description('declare all cursors void, as after a restored backup'))
    .option('--yes', 'do it')
    .option('--reason <text>', 'kept beside the epoch', 'livemessage journal new-epoch')
    .action(async ({ yes, reason = '', ...flags }: EpochFlags) => {
      const { config } = await load(flags)
      if (config.journal !== 'postgres') {
        throw usage(
          `the journal is '${config.journal}', which begins its epochs by itself: there is nothing to do`,
        )
      }
      if (yes !== true) throw usage(`${MEANING} Say --yes to do it.`)
      const { before, after } = await withDatabase(config, async (db) => ({
        before: (await db.query<{ epoch: string }>('SELECT epoch FROM livemessage.meta')).rows[0]?.epoch,
        after: (await db.query<{ epoch: string }>('SELECT livemessage.new_epoch($1) AS epoch', [reason]))
          .rows[0]?.epoch,
      }))
      print(
        `epoch ${after} begins, ${before} is over: every client with an older cursor is told that it may have missed`,
      )
      print('something (recovered: false), and goes on live. The publications themselves are still there.')
    })
    .addHelpText(
      'after',
      `
${MEANING}

Nodes that run take it up at once, others when they start.
`,
    )
}

const MEANING = `A new epoch makes every cursor that clients hold void: as they come back, each is told recovered: false once,
and loads its state anew. The daemon begins one by itself when it sees that the database is another than before, or has
lost what was delivered. Do it by hand after something that it can't see: rows of the journal that were changed or
deleted by hand, or a restore while no daemon ran, of a server whose identity stayed the same.`

async function withDatabase<T>(config: Config, use: (db: Database) => Promise<T>): Promise<T> {
  const { openHome } = await import('../database/home.ts')
  const home = await openHome(config.postgres, [], createLogger({ level: 'silent' }))
  try {
    return await use(home.pool)
  } catch (error) {
    throw databaseError(error)
  } finally {
    await home.stop()
  }
}

interface StreamStatus {
  readonly stream: string
  /** Null: it is not there yet. */
  readonly messages: number | null
}

async function streamStatus({ broker }: Config): Promise<StreamStatus> {
  const { url, exchange } = broker as BrokerConfig // the config's own check
  const stream = `${exchange}.journal`
  const server = new URL(url).host
  const link = await openLink(
    { url, connectionName: 'livemessages journal status' },
    { signal: new AbortController().signal, onBlocked: () => undefined },
  ).catch((error: unknown) => {
    throw new LivemessageError(
      'BROKER_UNREACHABLE',
      `no connection to the broker at ${server}: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  })
  try {
    const channel = await link.createChannel()
    channel.on('error', () => {}) // the same error rejects the question
    return { stream, messages: (await channel.checkQueue(stream)).messageCount }
  } catch (error) {
    if (isNotFound(error)) return { stream, messages: null }
    throw error
  } finally {
    await link.close(1_000)
  }
}

function streamText({ stream, messages }: StreamStatus): string {
  const state = messages === null ? 'not there yet: a daemon makes it' : `${messages} messages`
  return lines([
    ['kind', 'rabbitmq'],
    ['stream', `${stream}, ${state}`],
    ['', "each node's head, epoch and window: /metrics and /readyz of that node"],
  ])
}

function statusText(status: JournalStatus): string {
  const { rows, oldest, bytes, floors, leader, notifyQueueUsage, reason } = status
  const floor = Object.entries(floors).map(
    ([subsystem, position]) => `${subsystem || '(others)'} ${position}`,
  )
  return lines([
    ['kind', 'postgres'],
    ['epoch', `${status.epoch}, since ${status.minted}${reason === null ? '' : ` (${printable(reason)})`}`],
    ['head', String(status.head)],
    ['rows', `${rows.isEstimate ? 'about ' : ''}${rows.count}`],
    ['oldest', oldest === null ? 'none' : `${oldest.position}, of ${oldest.time}`],
    ['size', `${megabytes(bytes.journal)} with its indexes, ${megabytes(bytes.others)} for all else`],
    ['floors', floor.length === 0 ? 'none: nothing was deleted' : floor.join(', ')],
    ['enqueued', `${status.enqueued} not yet in the journal`],
    ['notify', `${status.notify}; the server's queue is ${(notifyQueueUsage * 100).toFixed(1)} % full`],
    [
      'leader',
      leader === null
        ? 'none: no daemon runs, or it is about to change'
        : `${leader.holder}, until ${leader.until}`,
    ],
    ['dead', `${status.deadLetters} letters`],
    ['schema', `version ${status.schemaVersion}`],
  ])
}

function lines(fields: readonly (readonly [string, string])[]): string {
  return fields.map(([field, value]) => `${(field === '' ? '' : `${field}:`).padEnd(10)}${value}`).join('\n')
}

function megabytes(bytes: number): string {
  return bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`
}
