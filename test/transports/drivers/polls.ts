import { setTimeout as passed } from 'node:timers/promises'
import { type Teardown, until } from '../../support/wait.ts'
import {
  type Came,
  type Coming,
  type Driver,
  type Got,
  headersOf,
  queryOf,
  Recording,
  repeat,
} from './driver.ts'
import { cidsOf } from './streams.ts'

export const longPolling: Driver = {
  row: 'long-polling',
  follower: 'poll',
  asks: false,
  reach: (t, base, coming) => poll(t, base, coming, 2),
}

export const polling: Driver = {
  row: 'polling (`wait=0`)',
  follower: 'poll',
  asks: true,
  reach: (t, base, coming) => poll(t, base, coming, 0),
}

interface Answer {
  readonly cursor: string
  readonly lost: readonly string[]
  readonly messages: readonly Got[]
  readonly events?: readonly Came[]
  readonly presence?: readonly { readonly event: string }[]
  readonly session?: string
  readonly secret?: string
}

async function poll(t: Teardown, base: string, coming: Coming, wait: number): Promise<Recording> {
  const record = new Recording()
  record.cursor = coming.from?.cursor ?? null
  let rounds = 0
  repeat(t, record, async (signal) => {
    const query = queryOf(coming)
    query.set('wait', String(wait))
    if (record.cursor !== null) query.set('since', record.cursor)
    if (record.session !== null) query.set('session', record.session)
    const headers = { ...headersOf(coming), ...record.pass }
    const response = await fetch(`${base}/poll?${query.toString()}`, { headers, signal })
    if (response.status !== 200) throw new Error(String(response.status))
    const answer = (await response.json()) as Answer
    for (const message of answer.messages) record.take(message)
    record.events.push(...(answer.events ?? []))
    record.presence.push(...(answer.presence ?? []))
    if (answer.lost.length > 0) record.lostBy = 'lost'
    record.cursor = answer.cursor
    record.told(answer)
    rounds++
    if (wait === 0) await passed(15)
  })
  // Who brings a cursor may have to wait for what comes.
  const isHeld = coming.from !== undefined && wait > 0
  if (!isHeld) await until('the first answer', () => rounds > 0 || record.refused !== null)
  return record
}

export const listen: Driver = {
  row: '`/listen/?cid=`',
  follower: null,
  asks: false,
  reach(t, base, coming) {
    const record = new Recording()
    let next: Record<string, string> = {}
    let from = coming.from
    repeat(t, record, async (signal) => {
      const { from: _, ...rest } = coming
      const asked: Coming = from === undefined ? rest : { ...rest, from }
      const query = cidsOf(asked, 'cid')
      query.set('wait', '2')
      const headers = { ...headersOf(asked), ...next }
      const response = await fetch(`${base}/listen/?${query.toString()}`, { headers, signal })
      const text = await response.text()
      if (response.status !== 200 && response.status !== 304) throw new Error(String(response.status))
      if (response.headers.get('livemessage-lost') === 'true') record.lostBy = 'Livemessage-Lost'
      const tag = response.headers.get('etag')
      if (tag !== null) {
        record.cursor = tag.replaceAll('"', '')
        next = { 'If-None-Match': tag }
        from = undefined
      }
      if (response.status !== 200) return
      const isJson = response.headers.get('content-type') === 'application/json'
      record.take({ data: isJson ? JSON.parse(text) : text })
    })
    return Promise.resolve(record)
  },
}

export const getMessages: Driver = {
  row: '`/get_messages/?channel_id=`',
  follower: null,
  asks: true,
  async reach(t, base, coming) {
    const record = new Recording()
    let rounds = 0
    const { from: _, ...rest } = coming
    record.cursor = coming.from?.cursor ?? null
    repeat(t, record, async (signal) => {
      const since = { cursor: record.cursor ?? '0', by: 'since' }
      const query = cidsOf({ ...rest, from: since }, 'channel_id')
      const headers = headersOf(rest)
      const response = await fetch(`${base}/get_messages/?${query.toString()}`, { headers, signal })
      if (response.status !== 200) throw new Error(String(response.status))
      if (response.headers.get('livemessage-lost') === 'true') {
        record.lostBy = 'Livemessage-Lost'
        // From that place nothing comes any more: all that is kept, then.
        record.cursor = null
      }
      const list = (await response.json()) as Got[]
      for (const message of list.toReversed()) record.take(message)
      rounds++
      await passed(15)
    })
    await until('the first answer', () => rounds > 0 || record.refused !== null)
    return record
  },
}
