import { readFileSync } from 'node:fs'

/** The table of docs/transports.md, as it stands there. */
export interface Table {
  readonly columns: readonly string[]
  /** By the transport's name, its cells by their columns. */
  readonly rows: ReadonlyMap<string, ReadonlyMap<string, string>>
}

const BEGIN = '<!-- what works: test/transports/matrix.test.ts runs each cell -->'
const END = '<!-- end of what works -->'

export function readTable(): Table {
  const text = readFileSync(new URL('../../docs/transports.md', import.meta.url), 'utf8')
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (from === -1 || to < from) throw new Error('docs/transports.md: the table is not between its comments')
  const lines = text
    .slice(from + BEGIN.length, to)
    .trim()
    .split('\n')
  const [head = [], , ...body] = lines.map(cellsOf)
  const [, ...columns] = head
  const rows = body.map(([name = '', ...cells]) => {
    if (cells.length !== columns.length) throw new Error(`docs/transports.md: ${name} has too few cells`)
    return [name, new Map(cells.map((cell, index) => [columns[index]!, cell]))] as const
  })
  return { columns, rows: new Map(rows) }
}

function cellsOf(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.trim())
}
