import { fileURLToPath } from 'node:url'
import { messageOf } from '../errors.ts'
import { isPackaged } from './files.ts'
import type { ModuleLoader } from './modules.ts'
import { ModuleSyntaxError } from './transform.ts'
import { redact } from './values.ts'

/** What a user's module threw, in one line: the message, and where in the user's own files. */
export function describeThrown(error: unknown, loader: ModuleLoader): string {
  const place = placeOf(error, loader)
  // of several lines (a code frame, the require stack) the first says what it is
  const message = redact(messageOf(error).split('\n', 1)[0] ?? '')
  const name = error instanceof Error && error.name !== 'Error' ? `${error.name}: ` : ''
  return `${name}${message}${place === null ? '' : ` (${place})`}`
}

/** `<file>:<line>` of the first frame of the stack that is the user's. */
function placeOf(error: unknown, loader: ModuleLoader): string | null {
  if (error instanceof ModuleSyntaxError) return error.place
  if (!(error instanceof Error) || error.stack === undefined) return null
  for (const line of error.stack.split('\n')) {
    const [, url, number] = /((?:file:\/\/)?\/?[^\s()]+?):(\d+)(?::\d+)?\)?$/.exec(line) ?? []
    if (url === undefined) continue
    const file = url.startsWith('file://') ? fileURLToPath(url) : url
    if (loader.files.has(file) && !isPackaged(file)) return `${file}:${number}`
  }
  return null
}
