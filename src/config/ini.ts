import { readFile } from 'node:fs/promises'
import { ConfigError, messageOf } from '../errors.ts'
import { isRecord } from './values.ts'

const SECTION = 'livemessages'

/**
 * The section `[livemessages]` of an INI file; null when the file is not there and was not asked for.
 * @throws {ConfigError} INI_UNREADABLE
 */
export async function readIni(file: string, asked: boolean): Promise<Record<string, unknown> | null> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (!asked && error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw unreadable(file, `can't be read: ${messageOf(error)}`)
  }
  // only where there is such a file: most have none
  const { parse } = await import('ini')
  const section: unknown = Object.entries(parse(equalSigns(text))).find(
    ([name]) => name.toLowerCase() === SECTION,
  )?.[1]
  if (!isRecord(section)) {
    throw unreadable(file, `expected a section [${SECTION}], found none`)
  }
  return section
}

// The predecessors' files are Python's, where `key: value` is as good as `key = value`.
function equalSigns(text: string): string {
  return text.replace(/^([ \t]*\w+[ \t]*):/gm, '$1=')
}

function unreadable(file: string, message: string): ConfigError {
  return new ConfigError([{ code: 'INI_UNREADABLE', key: 'ini', message }], file)
}
