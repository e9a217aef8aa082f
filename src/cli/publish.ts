import { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { openHome } from '../database/home.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import { createLogger } from '../ops/logger.ts'
import { parseJson } from '../protocol/json.ts'
import { isChannel, restOf, subsystemOf } from '../protocol/names.ts'
import { createAmqpPublisher } from '../sources/amqp-publisher.ts'
import { type ConfigFlags, loadIfThere, print, withConfig } from './options.ts'
import { daemonUrl } from './daemon-url.ts'

interface PublishFlags extends ConfigFlags {
  readonly url?: string
  readonly key?: string
  readonly idempotencyKey?: string
  readonly sql?: boolean
  readonly amqp?: boolean
  readonly print?: boolean
}

export function publishCommand(): Command {
  return withConfig(new Command('publish'))
    .description('publish JSON to a channel, by HTTP through the running daemon')
    .argument('<channel>', 'e.g. chat:general')
    .argument('<json>', `the data, e.g. '{"text":"hello"}'`)
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--key <key>', "an API key (default: LIVEMESSAGES_API_KEY, else the config's first)")
    .option('--idempotency-key <key>', 'a second publication with this key is not delivered again')
    .option('--sql', 'publish by livemessage.publish in the database')
    .option('--amqp', 'publish to the RabbitMQ exchange')
    .option('--print', 'print the SQL, or the commands, and publish nothing')
    .action(async (channel: string, text: string, flags: PublishFlags) => {
      const { config: file, ini, ...rest } = flags
      const json = parseJson(text)?.text
      if (json === undefined) throw new LivemessageError('USAGE', `expected JSON, got: ${text}`)
      if (!isChannel(channel)) {
        throw new LivemessageError('USAGE', `expected a channel <subsystem>:<rest>, got: ${channel}`)
      }
      const config = await loadIfThere({
        ...(file === undefined ? {} : { config: file }),
        ...(ini === undefined ? {} : { ini }),
      })
      if (rest.sql === true) await bySql(channel, json, config, rest)
      else if (rest.amqp === true) await byAmqp(channel, json, config, rest)
      else await byHttp(channel, json, config, rest)
    })
}

async function byHttp(
  channel: string,
  json: string,
  config: Config | null,
  flags: PublishFlags,
): Promise<void> {
  const base = daemonUrl(flags.url, config)
  const url = `${base}/publish?channel=${encodeURIComponent(channel)}`
  if (flags.print === true) {
    return print(`curl -X POST '${url}' -H 'Content-Type: application/json' -d ${quoteShell(json)}`)
  }
  const key = flags.key ?? process.env['LIVEMESSAGES_API_KEY'] ?? config?.api.keys[0]
  const headers: Record<string, string> = { 'Content-Type': 'application/json' }
  if (key !== undefined) headers['Authorization'] = `Bearer ${key}`
  if (flags.idempotencyKey !== undefined) headers['Idempotency-Key'] = flags.idempotencyKey
  let response: Response
  try {
    response = await fetch(url, { method: 'POST', headers, body: json, signal: AbortSignal.timeout(10_000) })
  } catch (error) {
    throw new LivemessageError(
      'DAEMON_UNREACHABLE',
      `no daemon answers at ${base}: ${messageOf((error as Error).cause ?? error)}; start one, or say --url`,
      { cause: error },
    )
  }
  const answer = await response.text()
  if (!response.ok)
    throw new LivemessageError('USAGE', `the daemon refused: HTTP ${response.status} ${answer}`)
  print(answer)
}

async function bySql(
  channel: string,
  json: string,
  config: Config | null,
  flags: PublishFlags,
): Promise<void> {
  const statement = `select livemessage.publish('${channel}', ${quoteSql(json)}::jsonb);`
  if (flags.print === true) return print(statement)
  if (config === null) throw new LivemessageError('USAGE', '--sql needs a config that names the database')
  const home = await openHome(config.postgres, [], createLogger({ level: 'warn' }))
  try {
    if (home.url === null) throw new LivemessageError('USAGE', 'the config says postgres: false')
    await home.pool.query('select livemessage.publish($1, $2::jsonb)', [channel, json])
    print('committed')
  } finally {
    await home.stop()
  }
}

async function byAmqp(
  channel: string,
  json: string,
  config: Config | null,
  flags: PublishFlags,
): Promise<void> {
  const routingKey = `${subsystemOf(channel)}.${restOf(channel)}`
  const exchange = config?.broker?.exchange ?? 'livemessages'
  if (flags.print === true) {
    return print(
      `rabbitmqadmin publish exchange=${exchange} routing_key=${quoteShell(routingKey)} payload=${quoteShell(json)}`,
    )
  }
  if (config?.broker == null) {
    throw new LivemessageError('USAGE', '--amqp needs a config with broker.url')
  }
  const publisher = await createAmqpPublisher({ url: config.broker.url, exchange })
  try {
    const { idempotencyKey: messageId } = flags
    await publisher.publish(channel, json, messageId === undefined ? {} : { messageId })
    print('confirmed')
  } finally {
    await publisher.close()
  }
}

function quoteSql(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function quoteShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
