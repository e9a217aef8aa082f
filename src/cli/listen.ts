import { type Command, InvalidArgumentError } from 'commander'
import { isChannel } from '../protocol/names.ts'
import { daemonPlace } from './daemon-place.ts'
import { Listening } from './listening.ts'
import { type ConfigFlags, loadIfThere, print, usage, withConfig } from './options.ts'

interface ListenFlags extends ConfigFlags {
  readonly url?: string
  readonly token?: string
  readonly last?: number
  readonly since?: string
  readonly count?: number
  readonly raw?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .argument('<channel...>', 'e.g. chat:general messages:42')
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--token <token>', 'a token to authenticate with')
    .option('--last <n>', 'begin with the newest n', wholeFrom(0))
    .option('--since <cursor>', "begin behind this cursor, a message's id")
    .option('--count <n>', 'end after n messages', wholeFrom(1))
    .option('--raw', 'print every frame of the daemon as it came')
    .action(async (channels: string[], flags: ListenFlags) => {
      const wrong = channels.find((channel) => !isChannel(channel))
      if (wrong !== undefined) throw usage(`expected channels <subsystem>:<rest>, got: ${wrong}`)
      if (flags.last !== undefined && flags.since !== undefined) throw usage('--last, --since: one of them')
      const place = daemonPlace(flags.url, await loadIfThere(flags))
      await new Listening(place, { ...flags, channels }, { print, note }).run()
    })
    .addHelpText(
      'after',
      `
A message is a line of JSON: {"channel","id","time","data"}. What else there is to say goes to standard error.
When the connection is lost it comes back and gets what it missed, where the channel has a history.

Examples:
  livemessage listen chat:general --last 10
  livemessage listen chat:general --count 1 | jq .data
`,
    )
}

function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

function wholeFrom(least: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (text.trim() !== '' && Number.isSafeInteger(number) && number >= least) return number
    throw new InvalidArgumentError(`Expected a whole number, ${least} or more.`)
  }
}
