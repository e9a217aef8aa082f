import path from 'node:path'
import { renderHaproxy } from '../../src/proxy/haproxy.ts'
import type { ProxyPlan } from '../../src/proxy/plan.ts'
import { find, HAPROXY } from './packages.ts'
import type { Program } from './proxy.ts'

/** HAProxy with exactly what `livemessage haproxy` prints. */
export function startHaproxy(plan: ProxyPlan): Program {
  return {
    file: find(HAPROXY) ?? 'haproxy',
    args: (folder) => ['-db', '-f', path.join(folder, 'haproxy.cfg')],
    files: () => ({ 'haproxy.cfg': renderHaproxy(plan) }),
  }
}
