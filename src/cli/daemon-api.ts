import type { Config } from '../config/config.ts'
import { LivemessageError, messageOf } from '../errors.ts'
import { type DaemonPlace, daemonPlace, formatPlace } from './daemon-place.ts'
import { parseJson } from '../protocol/json.ts'
import { request } from './request.ts'

export interface Question {
  readonly place: DaemonPlace
  /** An API key. */
  readonly key: string | undefined
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/**
 * Asks the running daemon; gives the answer's body.
 * @throws {LivemessageError} DAEMON_UNREACHABLE, DAEMON_REFUSED
 */
export async function askDaemon({ place, key, method, path, headers = {}, body }: Question): Promise<string> {
  const authorized = key === undefined ? headers : { ...headers, Authorization: `Bearer ${key}` }
  let answer
  try {
    answer = await request(`${place.url}${path}`, {
      method,
      socket: place.socket,
      headers: authorized,
      ...(body === undefined ? {} : { body }),
    })
  } catch (error) {
    const message = `no daemon answers at ${formatPlace(place)}: ${messageOf(error)}; start one, or say --url`
    throw new LivemessageError('DAEMON_UNREACHABLE', message, { cause: error })
  }
  if (answer.status === 200) return answer.body
  const code = answer.status >= 500 ? 'DAEMON_UNREACHABLE' : 'DAEMON_REFUSED'
  throw new LivemessageError(code, `HTTP ${answer.status} from ${formatPlace(place)}: ${whyOf(answer.body)}`)
}

/** The key that was given, or is known for that place. */
export function keyOf(
  said: { readonly key?: string; readonly url?: string },
  config: Config | null,
): string | undefined {
  return said.key ?? process.env['LIVEMESSAGES_API_KEY'] ?? configKey(said.url, config)
}

/** The config's first key, for the config's own daemon only: another place that `--url` names must not learn it. */
function configKey(said: string | undefined, config: Config | null): string | undefined {
  if (config === null) return undefined
  const isOwn =
    said === undefined ||
    // Without a port there is no own address to compare with.
    (config.socket === null &&
      config.port !== 0 &&
      daemonPlace(said, null).url === daemonPlace(undefined, config).url)
  return isOwn ? config.api.keys[0] : undefined
}

/** The daemon's own words, where they are. */
function whyOf(body: string): string {
  const answer = parseJson(body)?.value as
    { error?: { code?: unknown; message?: unknown } } | null | undefined
  const error = answer?.error
  return typeof error?.message === 'string' ? `${String(error.code)}: ${error.message}` : body.slice(0, 200)
}
