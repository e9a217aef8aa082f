import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'

// docs/predecessors.md has each capability of the predecessors once, with tests that there are.

const ROOT = path.join(import.meta.dirname, '../..')
const page = await readFile(path.join(ROOT, 'docs/predecessors.md'), 'utf8')

/** All of them. Numbers that are left out stand for nothing. */
const IDS = [
  ...ids('S1', [1, 3, [4, 54], 56, 'T']),
  ...ids('S2', [1, 2, [5, 7], [10, 37], 'E', 'R']),
  ...['busy polling', 'lost order', 'unmatched messages kept for ever', 'LISTEN that never reconnects'].map(
    (defect) => `S2 defect: ${defect}`,
  ),
  ...ids('S3', [1, 2, [5, 7], [9, 24]]),
  ...ids('S4', [1, 2, 4, 6, 7, [9, 13], 15, 16, 18, 'T']),
  ...ids('S5', [[1, 5], [7, 11], 13]),
  'S5: Flash sockets, `crossdomain.xml`, JSONP',
]

interface Row {
  readonly system: string
  readonly ids: readonly string[]
  readonly cells: readonly string[]
}

const rows = readRows()

t.test('each id is there once, below its system', async (t) => {
  const found = rows.flatMap((row) => row.ids)
  const missing = IDS.filter((id) => !found.includes(id))
  const twice = found.filter((id, index) => found.indexOf(id) !== index)
  const unknown = found.filter((id) => !IDS.includes(id))
  t.strictSame({ missing, twice, unknown }, { missing: [], twice: [], unknown: [] })
  const elsewhere = rows.filter(({ system, ids }) => ids.some((id) => !id.startsWith(system)))
  t.strictSame(
    elsewhere.flatMap(({ ids }) => ids),
    [],
    'each below its own heading',
  )
})

t.test('each row says what theirs was, what ours is, and which test shows it', async (t) => {
  const wrong: string[] = []
  for (const { ids, cells } of rows) {
    const [, theirs = '', ours = '', shown = ''] = cells
    const complain = (what: string): number => wrong.push(`${ids.join(', ')}: ${what}`)
    if (cells.length !== 4) complain(`expected the cells id, theirs, ours, shown by; got ${cells.length}`)
    if (theirs === '' || ours === '') complain('an empty cell')
    if (namedIn(shown).length === 0) complain('no test shows it')
    const left = shown.replaceAll(TEST, '').replaceAll(/[;\s]/g, '')
    if (left !== '') complain(`expected \`file\`: "name" of tests, apart by ';'; got ${left}`)
  }
  t.strictSame(wrong, [])
})

t.test('each test that is named is there, under this name', async (t) => {
  const wrong: string[] = []
  for (const { ids, cells } of rows) {
    for (const { file, name } of namedIn(cells[3] ?? '')) {
      const text = await textOf(file)
      if (text === null) wrong.push(`${ids.join(', ')}: there is no ${file}`)
      else if (!hasTest(text, name)) wrong.push(`${ids.join(', ')}: ${file} has no test "${name}"`)
    }
  }
  t.strictSame(wrong, [])
})

t.test('S4-T: each transport has its figures, beside a control', async (t) => {
  const figures = await readFile(path.join(ROOT, 'docs/performance.md'), 'utf8')
  for (const transport of ['fan-out', 'SSE', 'Socket\\.IO', 'long-polling']) {
    // Scenario, figure, control, daemon.
    t.match(
      figures,
      new RegExp(`^\\| ${transport}[^|]*\\|[^|]+\\| [\\d.][^|]*\\| [\\d.][^|]*\\|`, 'm'),
      transport,
    )
  }
})

const TEST = /`(test\/[^`]+\.test\.ts)`: "([^"]+)"/g

function namedIn(cell: string): { readonly file: string; readonly name: string }[] {
  return [...cell.matchAll(TEST)].map(([, file = '', name = '']) => ({ file, name }))
}

function ids(system: string, numbers: readonly (number | string | readonly [number, number])[]): string[] {
  return numbers.flatMap((one) => {
    if (typeof one === 'string') return [`${system}-${one}`]
    const [first, last] = typeof one === 'number' ? [one, one] : one
    return Array.from(
      { length: last - first + 1 },
      (_, n) => `${system}-${String(first + n).padStart(2, '0')}`,
    )
  })
}

/** The tables' rows, ranges such as S1-16…20 as what they stand for. */
function readRows(): Row[] {
  return page
    .split(/^## /m)
    .slice(1)
    .flatMap((section) =>
      [...section.matchAll(/^\| (S\d.*) \|$/gm)].map(([, line = '']) => {
        const cells = line.split(' | ').map((cell) => cell.trim())
        return { system: section.slice(0, 2), ids: idsOf(cells[0] ?? ''), cells }
      }),
    )
}

function idsOf(cell: string): string[] {
  if (cell.includes(':')) return [cell]
  return cell.split(', ').flatMap((one) => {
    const range = /^(S\d)-(\d+)…(\d+)$/.exec(one)
    if (range === null) return [one]
    const [, system = '', first, last] = range
    return ids(system, [[Number(first), Number(last)]])
  })
}

/** The test's own text, and that of the suites beside it that it runs; null where there is no such file. */
async function textOf(file: string): Promise<string | null> {
  const whole = path.join(ROOT, file)
  if (!existsSync(whole)) return null
  const own = await readFile(whole, 'utf8')
  const suites = [...own.matchAll(/from '(\.{1,2}\/[^']+\.ts)'/g)]
    .map(([, from = '']) => path.join(path.dirname(whole), from))
    .filter((suite) => suite.startsWith(path.join(ROOT, 'test')) && existsSync(suite))
  return [own, ...(await Promise.all(suites.map((suite) => readFile(suite, 'utf8'))))].join('\n')
}

/** A name stands between quotes; of one that is made of parts, the last part. */
function hasTest(text: string, name: string): boolean {
  return [`'${name}'`, `"${name}"`, `\`${name}\``, `: ${name}\``, `} ${name}\``].some((one) =>
    text.includes(one),
  )
}
