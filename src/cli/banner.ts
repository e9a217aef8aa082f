import type { Config } from '../config/config.ts'
import type { Started } from '../daemon.ts'
import { formatAddress } from '../listeners/address.ts'
import type { Registry } from '../registry/registry.ts'
import { VERSION } from '../version.ts'

/** What a person sees at the start: where it listens, what feeds it, what it serves. */
export function banner(started: Started, config: Config, registry: Registry): string {
  const where = formatAddress(started.address)
  const url = 'socket' in started.address ? where : `http://${where}`
  const sources = started.parts
    .filter(({ name }) => name !== 'node')
    .map(({ name, ready, state, reason }) =>
      ready ? `${name} up` : `${name} ${state} (${reason ?? 'starting'})`,
    )
  return [
    '',
    `  livemessages ${VERSION}   ${url}   ${config.dev ? `demo page: ${url}/` : ''}`.trimEnd(),
    `  listener    ${started.listener === 'uws' ? 'uWebSockets.js' : 'ws on node:http'}`,
    `  sources     ${sources.join(' · ')}`,
    `  subsystems  ${[...config.channels.keys()].map((name) => describe(name, config, registry)).join(' · ')}`,
    '',
  ].join('\n')
}

function describe(subsystem: string, config: Config, registry: Registry): string {
  const actions = registry.modules.filter(
    (module) => module.subsystem === subsystem && module.kind === 'action',
  )
  const history = config.channels.get(subsystem)?.history != null ? 'journaled' : 'transient'
  return `${subsystem} (${history}${actions.length === 0 ? '' : `, ${actions.map(({ key }) => key).join(' ')}`})`
}
