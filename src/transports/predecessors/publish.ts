import type { Request, Response } from '../../listeners/listener.ts'
import { ClientError } from '../../protocol/codes.ts'
import { readJson } from '../../protocol/json.ts'
import type { MaybePromise } from '../../sources/source.ts'
import type { Live } from '../../rules.ts'
import { channelIn } from './address.ts'

export interface RawPublishDependencies {
  readonly live: Live
  readonly hub: { readonly channels: { get(channel: string): number | undefined } }
  /** False while the daemon stops. */
  accepting(): boolean
  publish(publication: {
    channel: string
    json: string
    source: string
    key: string | undefined
    exclude: string | undefined
  }): MaybePromise<string | null>
  refuse(response: Response, error: unknown): void
}

/**
 * `POST /publish/?cid=…`: a body that is JSON is published as it is, any other as a text. 201 where somebody listens at
 * this node, otherwise 202.
 */
export function publishRaw(
  deps: RawPublishDependencies,
  subsystem: string,
  request: Request,
  response: Response,
): void {
  const { live, hub } = deps
  if (!deps.accepting()) throw new ClientError('unavailable', 'shutting down')
  const verdict = live.rules.peers.mayPublish(request)
  if (!verdict.ok) throw new ClientError(verdict.code, verdict.message)
  const channel = channelIn(request, subsystem, NAMES)
  const accept = (id: string | null): void => {
    const subscribers = hub.channels.get(channel) ?? 0
    const place: Record<string, string> = id === null ? {} : { ETag: `"${id}"` }
    const headers = { 'Content-Type': 'text/plain; charset=utf-8', ...place }
    response.reply(subscribers > 0 ? 201 : 202, headers, `active subscribers: ${subscribers}\n`)
  }
  request.readBody(live.rules.config.limits.publicationBytes, (body) => {
    try {
      const json = jsonOf(body)
      const id = deps.publish({ channel, json, source: 'http', key: undefined, exclude: undefined })
      if (!(id instanceof Promise)) return accept(id)
      id.then(accept, (error: unknown) => deps.refuse(response, error))
    } catch (error) {
      deps.refuse(response, error)
    }
  })
}

const NAMES = ['cid']

function jsonOf(body: Buffer | null): string {
  if (body === null) throw new ClientError('too_large', 'the body is too large')
  if (body.length === 0) throw new ClientError('invalid_input', 'the body must be what is published')
  const json = readJson(body)
  if (json !== null) return json.text
  try {
    return JSON.stringify(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body))
  } catch (error) {
    if (error instanceof TypeError) throw new ClientError('invalid_input', 'the body must be UTF-8')
    throw error
  }
}
