import path from 'node:path'
import { renderNginx } from '../../src/proxy/nginx.ts'
import type { ProxyPlan } from '../../src/proxy/plan.ts'
import { find, NGINX } from './packages.ts'
import type { Program } from './proxy.ts'

/** nginx with what `livemessage haproxy --nginx` prints; its own files in the folder, for it is not root's. */
export function startNginx(plan: ProxyPlan): Program {
  return {
    file: find(NGINX) ?? 'nginx',
    args: (folder) => nginxArgs(folder),
    files: (folder) => ({ 'nginx.conf': inFolder(renderNginx(plan), folder) }),
  }
}

export function nginxArgs(folder: string): string[] {
  const main = `daemon off; pid ${path.join(folder, 'run', 'nginx.pid')};`
  return ['-e', 'stderr', '-p', folder, '-c', path.join(folder, 'nginx.conf'), '-g', main]
}

/** The same config, with what it writes in this folder. */
export function inFolder(text: string, folder: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const places = kinds.map((kind) => `${kind}_temp_path ${folder}/run/${kind};`).join(' ')
  return text.replace('http {', `http { ${places}`).replaceAll('/var/log/nginx/', `${folder}/run/`)
}
