import { readFile, writeFile } from 'node:fs/promises'
import { cpus, release, totalmem } from 'node:os'
import type { Measured } from './load.ts'
import type { Kind } from './server.ts'
import { brief, median, spread } from './stats.ts'

/** One figure: what each round gave, of the control and of the daemon. */
export interface Row {
  readonly scenario: string
  /** What is counted, with its unit. */
  readonly figure: string
  readonly control: readonly number[]
  readonly daemon: readonly number[]
  readonly target?: Target
}

/** What tells whether the figures of a scenario can be trusted. */
export interface Evidence {
  readonly scenario: string
  readonly kind: Kind
  readonly measured: readonly Measured[]
}

export type Target =
  /** The daemon's share of the control, round by round: at least this. */
  | { readonly ratio: number }
  /** The daemon's median: at most this. */
  | { readonly most: number }
  /** The daemon's median: at most the control's and this. */
  | { readonly above: number }

const START = '<!-- bench: begin -->'
const END = '<!-- bench: end -->'

export function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const ratio = row.control.length > 0 && row.daemon.length > 0 ? ratioOf(row).toFixed(2) : ''
    const cells = [row.scenario, row.figure, spread(row.control), spread(row.daemon), ratio, verdict(row)]
    return `| ${cells.join(' | ')} |`
  })
  return [
    '| scenario | figure | control | daemon | daemon ÷ control | target |',
    '|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}

/** Who was busy: figures of a server that waited for the load generator would say nothing of the server. */
export function evidenceTable(evidence: readonly Evidence[]): string {
  const lines = evidence.map(({ scenario, kind, measured }) => {
    const of = (value: (m: Measured) => number): string => spread(measured.map(value))
    const server = of((m) => (m.serverCpu / m.seconds) * 100)
    const load = of((m) => (m.loadCpu / m.seconds) * 100)
    const others = of((m) => Math.max(0, ((m.machineCpu - m.serverCpu - m.loadCpu) / m.seconds) * 100))
    const bytes = of((m) => m.bytes / m.received)
    const deliveries = measured.reduce((sum, m) => sum + m.received, 0)
    const missing = measured.reduce((sum, m) => sum + m.expected - m.received, 0)
    return `| ${[scenario, kind, server, load, others, bytes, brief(deliveries), missing].join(' | ')} |`
  })
  return [
    '| scenario | server | server busy, % of its core | load generator busy, % of its core | all else, % of a core | bytes a delivery | deliveries counted | missing |',
    '|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}

export async function conditions(rounds: number, quick: boolean): Promise<string> {
  const congestion = await readFile('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8')
  return [
    `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${cpus().length} cores`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Linux ${release()} (TCP ${congestion.trim()})`,
    `Node ${process.version}`,
    new Date().toISOString().slice(0, 10),
    `medians of ${rounds} rounds (least–greatest)${quick ? ', short ones (--quick)' : ''}`,
  ].join('; ')
}

/** Replaces what stands between the two marker comments; appends them where there are none. */
export async function writeReport(file: string, text: string): Promise<void> {
  const before = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  const block = `${START}\n\n${text}\n\n${END}`
  const begin = before.indexOf(START)
  const end = before.indexOf(END)
  const after =
    begin >= 0 && end > begin
      ? before.slice(0, begin) + block + before.slice(end + END.length)
      : `${before}${before === '' ? '' : '\n'}${block}\n`
  await writeFile(file, after)
}

/** Of each round's pair, so that a slow minute of the machine weighs on both. */
function ratioOf({ control, daemon }: Row): number {
  return median(daemon.map((value, round) => value / (control[round] ?? Number.NaN)))
}

function verdict(row: Row): string {
  const { target } = row
  if (!target) return ''
  const [text, met] =
    'ratio' in target
      ? [`≥ ${target.ratio}`, ratioOf(row) >= target.ratio]
      : 'most' in target
        ? [`≤ ${target.most}`, median(row.daemon) <= target.most]
        : [`≤ control + ${target.above}`, median(row.daemon) <= median(row.control) + target.above]
  return row.daemon.length === 0 ? text : `${text} ${met ? '✓' : '✗'}`
}
