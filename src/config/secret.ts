import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The secret in a file; a file that is not there is made, with 256 random bits, readable by its owner only.
 * For a config: `secret: secretFile(new URL('./.livemessages/jwt-secret', import.meta.url))`.
 */
export function secretFile(place: string | URL): string {
  const file = typeof place === 'string' ? path.resolve(place) : fileURLToPath(place)
  const known = read(file)
  if (known !== null) return known
  mkdirSync(path.dirname(file), { recursive: true })
  try {
    // Exclusive: of two daemons that start together one makes it and the other reads it.
    writeFileSync(file, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return read(file) ?? ''
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
