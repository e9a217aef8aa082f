import { Command, InvalidArgumentError } from 'commander'
import { WebSocket } from 'ws'
import { LivemessageError, messageOf } from '../errors.ts'
import { isChannel } from '../protocol/names.ts'
import { daemonUrl } from './daemon-url.ts'
import { type ConfigFlags, loadIfThere, print, withConfig } from './options.ts'

interface ListenFlags extends ConfigFlags {
  readonly url?: string
  readonly token?: string
  readonly last?: number
  readonly since?: string
  readonly count?: number
  readonly raw?: boolean
}

export function listenCommand(): Command {
  return withConfig(new Command('listen'))
    .description('subscribe to channels and print what comes, a line each; comes back when the daemon does')
    .argument('<channel...>', 'e.g. chat:general messages:42')
    .option('--url <url>', "the daemon (default: the config's address, else http://127.0.0.1:7777)")
    .option('--token <token>', 'a token to authenticate with')
    .option('--last <n>', 'begin with the newest n', whole)
    .option('--since <cursor>', 'begin behind this cursor')
    .option('--count <n>', 'end after n messages', whole)
    .option('--raw', 'print every frame as it came')
    .action(async (channels: string[], flags: ListenFlags) => {
      const wrong = channels.find((channel) => !isChannel(channel))
      if (wrong !== undefined) {
        throw new LivemessageError('USAGE', `expected channels <subsystem>:<rest>, got: ${wrong}`)
      }
      const { config: file, ini } = flags
      const config = await loadIfThere({
        ...(file === undefined ? {} : { config: file }),
        ...(ini === undefined ? {} : { ini }),
      })
      await new Listening(daemonUrl(flags.url, config), channels, flags).run()
    })
}

/** Waiting before a connection is tried again. */
const RETRY_MS = 1000

/** One run of the command: a connection after the other, each going on where the last one stopped. */
class Listening {
  readonly #base: string
  readonly #channels: readonly string[]
  readonly #flags: ListenFlags
  /** Of each channel, the cursor of what was printed last. */
  readonly #cursors = new Map<string, string>()
  #printed = 0
  #everOpen = false

  constructor(base: string, channels: readonly string[], flags: ListenFlags) {
    this.#base = base
    this.#channels = channels
    this.#flags = flags
  }

  async run(): Promise<void> {
    for (;;) {
      const { code, error } = await this.#connect()
      if (this.#isEnough()) return
      if (!this.#everOpen) {
        const reason = error === null ? `closed with ${code}` : messageOf(error)
        throw new LivemessageError('DAEMON_UNREACHABLE', `no daemon answers at ${this.#base}: ${reason}`)
      }
      if (isFinal(code)) throw new LivemessageError('USAGE', `the daemon closed the connection with ${code}`)
      process.stderr.write(`connection lost (${code}), coming back\n`)
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  #connect(): Promise<{ code: number; error: Error | null }> {
    return new Promise((resolve) => {
      const socket = new WebSocket(`${this.#base.replace(/^http/, 'ws')}/ws`, 'livemessage.v1', {
        headers: this.#flags.token === undefined ? {} : { Authorization: `Bearer ${this.#flags.token}` },
      })
      let error: Error | null = null
      socket.on('open', () => {
        this.#everOpen = true
        for (const channel of this.#channels) socket.send(JSON.stringify(this.#subscribe(channel)))
      })
      socket.on('message', (data) => this.#receive(String(data), socket))
      socket.on('error', (reason: Error) => {
        error = reason
      })
      socket.on('close', (code) => resolve({ code, error }))
    })
  }

  #subscribe(channel: string): object {
    const since = this.#cursors.get(channel) ?? this.#flags.since
    const range = since === undefined ? { last: this.#flags.last } : { since }
    return { type: 'subscribe', id: channel, channel, ...range }
  }

  #receive(text: string, socket: WebSocket): void {
    const frame = JSON.parse(text) as Frame
    if (this.#flags.raw === true) print(text)
    if (frame.type === 'subscribed') {
      if (frame.cursor !== null) this.#cursors.set(frame.channel, frame.cursor)
      for (const message of frame.messages) this.#show(message)
    } else if (frame.type === 'message') this.#show(frame)
    else if (frame.type === 'error' || frame.type === 'unsubscribed') {
      process.stderr.write(`${frame.code}: ${frame.message}\n`)
    }
    if (this.#isEnough()) socket.close()
  }

  #show({ channel, id, data, time }: Message): void {
    if (this.#isEnough()) return
    if (id !== undefined) this.#cursors.set(channel, id)
    this.#printed++
    if (this.#flags.raw !== true) print(JSON.stringify({ channel, id, time, data }))
  }

  #isEnough(): boolean {
    return this.#flags.count !== undefined && this.#printed >= this.#flags.count
  }
}

interface Message {
  readonly channel: string
  readonly id?: string
  readonly data: unknown
  readonly time: number
}

type Frame =
  | {
      readonly type: 'subscribed'
      readonly channel: string
      readonly cursor: string | null
      readonly messages: Message[]
    }
  | ({ readonly type: 'message' } & Message)
  | { readonly type: 'error' | 'unsubscribed'; readonly code: string; readonly message: string }
  | { readonly type: 'welcome' | 'reconnect' | 'cursor' | 'pong' }

/** The codes after which a client does not come back. */
function isFinal(code: number): boolean {
  return code === 1009 || (code >= 4400 && code < 4450)
}

function whole(text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 0) throw new InvalidArgumentError('expected a whole number.')
  return number
}
