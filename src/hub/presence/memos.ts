import { isChannel } from '../../protocol/names.ts'
import { MAX_INFO } from './entry.ts'

/*
 * What nodes tell one another of presence. Names are short, for there may be very many:
 *
 *   {"n":17,"c":[…]}                      changes; `n` counts these memos of a node: who misses one sees it
 *   {"n":17,"d":[count,sum]}              what the node has after change 17
 *   {"q":1}                               who wants that, at once
 *   {"ask":5}                             who wants everything, as answer 5
 *   {"s":5,"p":0,"n":17,"c":[…],"end":1}  a page of it; changes that come between the pages belong behind them
 */

/** `[channel, session, user, info]` came or changed, `[channel, session]` went. `info` is JSON text. */
export type Line = readonly [channel: string, session: string, user?: string | null, info?: string]

export type PresenceMemo =
  | { readonly kind: 'changes'; readonly number: number; readonly lines: readonly Line[] }
  | { readonly kind: 'digest'; readonly number: number; readonly count: number; readonly sum: number }
  | { readonly kind: 'query' }
  | { readonly kind: 'ask'; readonly id: number }
  | {
      readonly kind: 'page'
      readonly id: number
      readonly page: number
      readonly number: number
      readonly lines: readonly Line[]
      readonly last: boolean
    }

export function encodePresence(memo: PresenceMemo): object {
  switch (memo.kind) {
    case 'changes':
      return { n: memo.number, c: memo.lines }
    case 'digest':
      return { n: memo.number, d: [memo.count, memo.sum] }
    case 'query':
      return { q: 1 }
    case 'ask':
      return { ask: memo.id }
    case 'page': {
      const { id, page, number, lines, last } = memo
      return { s: id, p: page, n: number, c: lines, ...(last ? { end: 1 } : {}) }
    }
    default:
      return memo satisfies never
  }
}

/** Null for what is none: anybody may say something on a shared server. */
export function decodePresence(body: unknown): PresenceMemo | null {
  if (typeof body !== 'object' || body === null) return null
  const { n, c, d, q, ask, s, p, end } = body as Record<string, unknown>
  if (ask !== undefined) return isCount(ask) ? { kind: 'ask', id: ask } : null
  if (q !== undefined) return { kind: 'query' }
  if (!isCount(n)) return null
  if (d !== undefined) {
    if (!Array.isArray(d)) return null
    const [count, sum] = d as readonly unknown[]
    return isCount(count) && isCount(sum) ? { kind: 'digest', number: n, count, sum } : null
  }
  if (!Array.isArray(c)) return null
  const lines: Line[] = []
  for (const one of c as readonly unknown[]) {
    const line = decodeLine(one)
    if (line === null) return null
    lines.push(line)
  }
  if (s === undefined) return { kind: 'changes', number: n, lines }
  return isCount(s) && isCount(p) ? { kind: 'page', id: s, page: p, number: n, lines, last: end === 1 } : null
}

function decodeLine(value: unknown): Line | null {
  if (!Array.isArray(value)) return null
  const [channel, session, user, info] = value as readonly unknown[]
  if (typeof channel !== 'string' || !isChannel(channel)) return null
  if (typeof session !== 'string' || !SESSION.test(session)) return null
  if (value.length === 2) return [channel, session]
  if (user !== null && (typeof user !== 'string' || user.length > MAX_USER)) return null
  const text = decodeInfo(info)
  return text === null ? null : [channel, session, user, text]
}

/** It goes out to clients as it is: it must be what it claims, on one line. */
function decodeInfo(info: unknown): string | null {
  if (info === 'null') return 'null'
  if (typeof info !== 'string' || info.length > MAX_INFO) return null
  try {
    return JSON.stringify(JSON.parse(info))
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null
    throw error
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

const SESSION = /^[A-Za-z0-9_-]{1,64}$/

/** Far beyond any user's id. */
const MAX_USER = 1024
