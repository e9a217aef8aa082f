import { memberText } from '../../protocol/json-text.ts'

/** What was published, as it came: a text as it is, everything else as JSON. */
export interface Published {
  readonly contentType: string
  readonly body: string
  readonly time: number
  /** Null on a transient channel. */
  readonly id: string | null
}

/** @param message a message object, encoded by the daemon itself */
export function readPublished(message: string): Published {
  const { id, data, time } = JSON.parse(message) as { id?: string; data: unknown; time: number }
  const what =
    typeof data === 'string'
      ? { contentType: 'text/plain; charset=utf-8', body: data }
      : // Not written again: numbers keep every digit.
        { contentType: 'application/json', body: memberText(message, 'data') ?? JSON.stringify(data) }
  return { ...what, time, id: id ?? null }
}
