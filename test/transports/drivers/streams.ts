import { type Teardown, until } from '../../support/wait.ts'
import { type Coming, type Driver, headersOf, queryOf, Recording } from './driver.ts'

/** Server-Sent Events, read as what they are. */
export const sse: Driver = {
  row: 'SSE',
  follower: 'sse',
  asks: false,
  reach: (t, base, coming) =>
    follow(t, `${base}/sse?${queryOf(coming).toString()}`, coming, '\n\n', true, (text, record) => {
      const fields = new Map(text.split('\n').map((line) => fieldOf(line)))
      const id = fields.get('id')
      if (id !== undefined) record.cursor = id
      const data = fields.get('data')
      const type = fields.get('event')
      if (data === undefined || type === undefined) return
      // A message's id is no cursor unless the block has it.
      const before = record.cursor
      record.takeObject({ ...JSON.parse(data), ...(type === 'message' ? {} : { type }) })
      record.cursor = before
    }),
}

export const ndjson: Driver = {
  row: 'stream, NDJSON',
  follower: 'stream',
  asks: false,
  reach: (t, base, coming) =>
    follow(
      t,
      `${base}/stream?${queryOf(coming).toString()}`,
      coming,
      '\n',
      coming.option === 'frames=1',
      (line, record) => {
        const object = JSON.parse(line) as Record<string, unknown>
        record.takeObject(object)
        if (object['type'] === 'subscribed' && coming.from !== undefined && object['recovered'] !== true) {
          record.lostBy = 'lost'
        }
      },
    ),
}

export const iframe: Driver = {
  row: 'stream, iframe',
  follower: 'stream',
  asks: false,
  reach: (t, base, coming) => {
    const query = queryOf(coming)
    query.set('format', 'html')
    query.set('callback', 'parent.handle')
    return follow(t, `${base}/stream?${query.toString()}`, coming, '\n', false, takeScript)
  },
}

export const messages: Driver = {
  row: '`/messages/?cid=`',
  follower: null,
  asks: false,
  reach: (t, base, coming) =>
    follow(t, `${base}/messages/?${cidsOf(coming, 'cid').toString()}`, coming, '\n', false, takeScript),
}

/** The query of a predecessor's address: channel chat:5 is 5 there. */
export function cidsOf(coming: Coming, name: string): URLSearchParams {
  const query = queryOf({ ...coming, channels: [] })
  for (const channel of coming.channels) query.append(name, channel.slice(channel.indexOf(':') + 1))
  return query
}

function takeScript(line: string, record: Recording): void {
  const json = /^<script>parent\.handle\((.*)\)<\/script>$/.exec(line)?.[1]
  if (json !== undefined) record.takeObject(JSON.parse(json))
}

function fieldOf(line: string): [string, string] {
  const at = line.indexOf(':')
  return [line.slice(0, at), line.slice(at + 1).trimStart()]
}

async function follow(
  t: Teardown,
  url: string,
  coming: Coming,
  between: string,
  welcomes: boolean,
  take: (text: string, record: Recording) => void,
): Promise<Recording> {
  const record = new Recording()
  const abort = new AbortController()
  const response = await fetch(url, { headers: headersOf(coming), signal: abort.signal })
  if (response.status !== 200) {
    const { error } = (await response.json()) as { error: { code: string } }
    record.refused = error.code
    return record
  }
  const reading = (async () => {
    let rest = ''
    try {
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
        const parts = (rest + text).split(between)
        rest = parts.pop()!
        for (const part of parts) if (part.trim() !== '') take(part.trim(), record)
      }
    } catch (error) {
      if (!abort.signal.aborted) record.refused ??= String(error)
    }
  })()
  record.end = async () => {
    abort.abort()
    await reading
  }
  t.teardown(() => record.end())
  // It is told who it is before anything else.
  if (welcomes) await until('the welcome', () => record.session !== null)
  return record
}
