import type { Config } from '../config/config.ts'
import type { Started } from '../daemon.ts'
import { formatAddress } from '../listeners/address.ts'
import type { Registry } from '../registry/registry.ts'
import { VERSION } from '../version.ts'
import { BOLD, DIM, GREEN, RESET, YELLOW } from './colours.ts'

/** What a person sees at the start: where it listens, what feeds it, what it serves. */
export function banner(started: Started, config: Config, registry: Registry): string {
  const { address, listener, parts } = started
  const where = formatAddress(address)
  const lines: [name: string, text: string][] = [
    ['listening on', 'socket' in address ? where : `http://${where}`],
  ]
  if (!('socket' in address)) lines.push(['clients', `ws://${where}/ws`])
  if (config.dev && !('socket' in address)) lines.push(['demo page', `http://${where}/`])
  lines.push(['engine', listener === 'uws' ? 'uWebSockets.js' : 'ws on node:http'])
  if (config.workers > 1) lines.push(['workers', String(config.workers)])
  const shown = parts.filter(({ name }) => name !== 'node')
  lines.push(['parts', shown.map(partLine).join('   ')])
  const subsystems = [...config.channels.keys()].map((name) => subsystemLine(name, config, registry))
  const [first = `${DIM}none: nothing can be published${RESET}`, ...others] = subsystems
  lines.push(['subsystems', first], ...others.map((text): [string, string] => ['', text]))
  const width = Math.max(...lines.map(([name]) => name.length))
  return [
    '',
    `  ${BOLD}livemessages ${VERSION}${RESET}`,
    '',
    ...lines.map(([name, text]) => `  ${DIM}${name.padEnd(width)}${RESET}   ${text}`),
    '',
    `  ${DIM}Ctrl-C stops it.${RESET}`,
    '',
  ].join('\n')
}

function partLine({ name, ready, state, reason }: Started['parts'][number]): string {
  if (ready) return `${GREEN}●${RESET} ${name}`
  return `${YELLOW}○ ${name} ${state}${reason === null ? '' : `: ${reason}`}${RESET}`
}

function subsystemLine(subsystem: string, config: Config, registry: Registry): string {
  const policy = config.channels.get(subsystem)
  const modules = registry.modules.filter((module) => module.subsystem === subsystem)
  const names = modules.map(({ key, kind }) => (kind === 'action' ? key : `[${key}]`))
  const about = [policy?.history == null ? 'transient' : 'journaled', `access: ${policy?.access ?? 'none'}`]
  return `${subsystem.padEnd(10)} ${DIM}${about.join(', ')}${RESET}   ${names.join(' ')}`.trimEnd()
}
