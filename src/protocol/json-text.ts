/** Line breaks in valid JSON can only be white space between tokens: strings hold them escaped. */
export function oneLine(json: string): string {
  return json.includes('\n') || json.includes('\r') ? json.replace(/[\r\n]+/g, ' ') : json
}

/**
 * The text of a top-level member, exactly as it stands in `json`: numbers that a parse and a stringify would
 * round stay as they are. `json` must be a valid JSON object, that is: parsed before. Of members of the same
 * name the last counts, as it does in JSON.parse. Undefined where there is none, and where a name is written
 * with escapes, so that text and parsed value can't tell different stories.
 */
export function memberText(json: string, name: string): string | undefined {
  let found: string | undefined
  let at = json.indexOf('{') + 1
  for (;;) {
    at = json.indexOf('"', at)
    if (at < 0) return found
    const nameEnd = stringEnd(json, at)
    const key = json.slice(at + 1, nameEnd - 1)
    if (key.includes('\\')) return undefined
    const start = json.indexOf(':', nameEnd) + 1
    const end = valueEnd(json, start)
    if (key === name) found = json.slice(start, end).trim()
    if (json.charCodeAt(end) === CLOSE_OBJECT) return found
    at = end + 1
  }
}

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** The index behind the string that begins at `at`. */
function stringEnd(json: string, at: number): number {
  let end = json.indexOf('"', at + 1)
  while (isEscaped(json, end)) end = json.indexOf('"', end + 1)
  return end + 1
}

function isEscaped(json: string, at: number): boolean {
  let backslashes = 0
  while (json.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++
  return backslashes % 2 === 1
}

/** The index of the comma or brace that ends the value which begins at `at`. */
function valueEnd(json: string, at: number): number {
  let depth = 0
  for (let i = at; i < json.length; i++) {
    const code = json.charCodeAt(i)
    if (code === QUOTE) i = stringEnd(json, i) - 1
    else if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++
    else if (depth === 0 && (code === COMMA || code === CLOSE_OBJECT)) return i
    else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) depth--
  }
  return json.length
}
