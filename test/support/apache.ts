import path from 'node:path'
import { APACHE_MODULES, renderApache } from '../../src/proxy/apache.ts'
import type { ProxyPlan } from '../../src/proxy/plan.ts'
import { APACHE, find } from './packages.ts'
import type { Program } from './proxy.ts'

/** Apache with the site that `livemessage haproxy --apache` prints, and around it what Debian's own config has. */
export function startApache(plan: ProxyPlan): Program {
  return {
    file: find(APACHE) ?? 'apache2',
    args: (folder) => ['-f', path.join(folder, 'main.conf'), '-D', 'FOREGROUND'],
    files: (folder) => ({
      'site.conf': renderApache(plan),
      'main.conf': mainConfig(folder, plan.certificate === null ? [plan.port] : [plan.port, plan.tlsPort]),
    }),
  }
}

/** What is loaded on Debian after its installation, as far as it matters here. */
const LOADED = ['mpm_event', 'authz_core', 'alias', 'env', 'setenvif', 'filter', 'deflate', 'reqtimeout']

const MODULES = '/usr/lib/apache2/modules'

export function mainConfig(folder: string, ports: readonly number[]): string {
  const modules = [...LOADED, 'socache_shmcb', ...APACHE_MODULES]
  return `ServerRoot ${folder}
ServerName localhost
${ports.map((port) => `Listen 127.0.0.1:${port}`).join('\n')}
PidFile run/apache.pid
DefaultRuntimeDir run
Mutex file:run default
ErrorLog "||/bin/cat"
LogLevel warn
${modules.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
AddOutputFilterByType DEFLATE text/html application/json
RequestReadTimeout header=20-40,minrate=500 body=20,minrate=500
StartServers 1
ServerLimit 4
ThreadsPerChild 64
MaxRequestWorkers 256
Include site.conf
`
}
