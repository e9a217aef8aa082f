import { type Command, Option } from 'commander'
import type { Config } from '../config/config.ts'
import { createLogger } from '../ops/logger.ts'
import { parseJson } from '../protocol/json.ts'
import { isChannel, restOf, subsystemOf } from '../protocol/names.ts'
import { databaseError } from './database-error.ts'
import { askDaemon, keyOf } from './daemon-api.ts'
import { daemonPlace } from './daemon-place.ts'
import { type ConfigFlags, loadIfThere, print, usage, withConfig } from './options.ts'

interface PublishFlags extends ConfigFlags {
  readonly url?: string
  readonly key?: string
  readonly idempotencyKey?: string
  readonly sql?: boolean
  readonly amqp?: boolean
  readonly print?: boolean
}

/** What is published, and by which config. */
interface Publication {
  readonly channel: string
  readonly json: string
  readonly config: Config | null
  readonly flags: PublishFlags
}

export function define(command: Command): void {
  withConfig(command)
    .argument('<channel>', 'e.g. chat:general')
    .argument('<json>', `the data, e.g. '{"text":"hello"}'; - reads it from standard input`)
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option(
      '--key <key>',
      "an API key (default: LIVEMESSAGES_API_KEY, else the config's first, not with another --url)",
    )
    .option('--idempotency-key <key>', 'a second publication with this key is not delivered again')
    .addOption(
      new Option('--sql', 'by livemessage.publish() in the database').conflicts(['amqp', 'url', 'key']),
    )
    .addOption(new Option('--amqp', 'by the RabbitMQ exchange').conflicts(['url', 'key']))
    .option('--print', 'print the command or the SQL, and publish nothing')
    .action(async (channel: string, text: string, flags: PublishFlags) => {
      const json = parseJson(text === '-' ? await readInput() : text)?.text
      if (json === undefined) throw usage(`expected JSON (a text wants its quotes: '"hello"'), got: ${text}`)
      if (!isChannel(channel)) throw usage(`expected a channel <subsystem>:<rest>, got: ${channel}`)
      const publication = { channel, json, flags, config: await loadIfThere(flags) }
      if (flags.sql === true) await bySql(publication)
      else if (flags.amqp === true) await byAmqp(publication)
      else await byHttp(publication)
    })
    .addHelpText(
      'after',
      `
By HTTP it prints {"id":"<cursor>"} once the daemon has taken it (null: a channel without a history). Without
a key only from this machine.

Examples:
  livemessage publish chat:general '{"name":"me","text":"hello"}'
  livemessage publish chat:general '"hello"' --sql --print
  date +%s | livemessage publish clock:seconds -
`,
    )
}

async function byHttp({ channel, json, config, flags }: Publication): Promise<void> {
  const place = daemonPlace(flags.url, config)
  const url = `${place.url}/publish?channel=${channel}`
  const key = keyOf(flags, config)
  const { idempotencyKey } = flags
  if (flags.print === true) {
    const parts = [
      `curl -X POST ${quoteShell(url)} -H 'Content-Type: application/json' -d ${quoteShell(json)}`,
    ]
    if (place.socket !== null) parts.push(`--unix-socket ${quoteShell(place.socket)}`)
    if (key !== undefined) parts.push('-H "Authorization: Bearer $LIVEMESSAGES_API_KEY"')
    if (idempotencyKey !== undefined) parts.push(`-H ${quoteShell(`Idempotency-Key: ${idempotencyKey}`)}`)
    return print(parts.join(' '))
  }
  const headers = {
    'Content-Type': 'application/json',
    ...(idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey }),
  }
  print(
    await askDaemon({ place, key, method: 'POST', path: `/publish?channel=${channel}`, headers, body: json }),
  )
}

async function bySql({ channel, json, config, flags }: Publication): Promise<void> {
  if (flags.print === true) {
    return print(`select livemessage.publish('${channel}', ${quoteSql(json)}::jsonb);`)
  }
  if (flags.idempotencyKey !== undefined) throw usage('--idempotency-key: not with --sql')
  if (config === null) throw usage('--sql needs a config that names the database')
  const { openHome } = await import('../database/home.ts')
  const home = await openHome(config.postgres, [], createLogger({ level: 'silent' }))
  try {
    if (home.url === null) throw usage('--sql: there is no database, the config says postgres: false')
    await home.pool.query('select livemessage.publish($1, $2::jsonb)', [channel, json])
    print('committed')
  } catch (error) {
    throw databaseError(error)
  } finally {
    await home.stop()
  }
}

async function byAmqp({ channel, json, config, flags }: Publication): Promise<void> {
  const routingKey = `${subsystemOf(channel)}.${restOf(channel)}`
  const exchange = config?.broker?.exchange ?? 'livemessages'
  if (flags.print === true) {
    return print(
      `rabbitmqadmin publish exchange=${quoteShell(exchange)} routing_key=${quoteShell(routingKey)} ` +
        `payload=${quoteShell(json)}`,
    )
  }
  if (config?.broker == null)
    throw usage(
      '--amqp: no broker is known: set LIVEMESSAGES_BROKER_URL in this terminal too, or broker.url in the config',
    )
  const { createAmqpPublisher } = await import('../sources/amqp-publisher.ts')
  const publisher = await createAmqpPublisher({ url: config.broker.url, exchange })
  try {
    const { idempotencyKey: messageId } = flags
    await publisher.publish(channel, json, messageId === undefined ? {} : { messageId })
    print('confirmed')
  } finally {
    await publisher.close()
  }
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8').trim()
}

function quoteSql(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function quoteShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
