import { fields, whole } from './input.ts'

/** The most rows of one answer. */
const MAX_LIMIT = 100

/** `{ start: 0, limit: 25 }`: the first page, of at most 100. */
export const page = fields({
  start: whole(0, Number.MAX_SAFE_INTEGER, 0),
  limit: whole(1, MAX_LIMIT, 25),
})

/** Which rows: so many, from this one on. */
export interface Page {
  readonly start: number
  readonly limit: number
}
