import { readFile } from 'node:fs/promises'
import t from 'tap'
import { ERRORS } from '../../src/errors.ts'
import { CLOSE, ERROR_STATUS } from '../../src/protocol/codes.ts'

// docs/errors.md and the code know the same codes, and say the same of them.

const page = await readFile(new URL('../../docs/errors.md', import.meta.url), 'utf8')

/** The rows below a heading, by their first two cells. */
function rows(heading: string): Map<string, string> {
  const section = page.split(/^## /m).find((text) => text.startsWith(heading)) ?? ''
  const found = [...section.matchAll(/^\| ([^|]+) \| ([^|]+) \|.*\|$/gm)]
  return new Map(
    found
      .slice(1)
      .map(([, first = '', second = '']) => [first.replaceAll('`', ''), second.replaceAll('`', '')]),
  )
}

const textOf = (values: object): Map<string, string> =>
  new Map(Object.entries(values).map(([name, value]) => [name, String(value)]))

t.test('errors of the command, each with its exit code', async (t) => {
  t.strictSame(sorted(rows('The command')), sorted(textOf(ERRORS)))
})

t.test('errors that clients are told, each with its HTTP status', async (t) => {
  t.strictSame(sorted(rows('Clients')), sorted(textOf(ERROR_STATUS)))
})

t.test('close codes, each with its name', async (t) => {
  const codes = Object.entries(CLOSE).map(([name, code]): [string, string] => [String(code), name])
  t.strictSame(sorted(rows('Close codes')), sorted(new Map(codes)))
})

t.test('every code has a sentence', async (t) => {
  t.notMatch(page, /^\| `?\w+`? \| [^|]+ \|[ \t]*\|/m)
})

function sorted(map: ReadonlyMap<string, string>): string[] {
  return [...map].map(([name, value]) => `${name} ${value}`).sort()
}
