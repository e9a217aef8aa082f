/** A place in a journal, as clients see it: the opaque text `<epoch>-<position>`. */
export interface Cursor {
  readonly epoch: string
  readonly position: number
}

const CURSOR = /^([A-Za-z0-9]{1,32})-(0|[1-9][0-9]{0,15})$/

export function formatCursor(epoch: string, position: number): string {
  return `${epoch}-${position}`
}

/** Null when the text is no cursor of any journal. */
export function parseCursor(text: unknown): Cursor | null {
  if (typeof text !== 'string') return null
  const match = CURSOR.exec(text)
  if (match === null) return null
  const position = Number(match[2])
  return Number.isSafeInteger(position) ? { epoch: match[1]!, position } : null
}
