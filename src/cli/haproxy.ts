import { type Command, InvalidArgumentError } from 'commander'
import { renderApache } from '../proxy/apache.ts'
import { renderHaproxy } from '../proxy/haproxy.ts'
import { renderNginx } from '../proxy/nginx.ts'
import { planProxy, type ProxyPlan } from '../proxy/plan.ts'
import { type ConfigFlags, load, usage, withConfig } from './options.ts'

interface ProxyFlags extends ConfigFlags {
  readonly servers?: readonly string[]
  readonly nginx?: boolean
  readonly apache?: boolean
  readonly certificate?: string
  readonly tls: boolean
  readonly port?: number
  readonly tlsPort?: number
  readonly proxyProtocol?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .option(
      '--servers <list>',
      "the nodes: host:port or /path/of.sock, with commas (default: the config's own)",
      list,
    )
    .option('--nginx', 'for nginx in place of HAProxy')
    .option('--apache', 'for Apache 2.4 in place of HAProxy')
    .option(
      '--certificate <file>',
      'a PEM file with certificate, chain and key (default: /etc/ssl/private/livemessages.pem)',
    )
    .option('--no-tls', 'plain HTTP, where something in front of it ends TLS')
    .option('--port <n>', 'port for plain HTTP (default: 80)', port)
    .option('--tls-port <n>', 'port for TLS (default: 443)', port)
    .option('--proxy-protocol', "HAProxy, nodes with uWebSockets.js: the client's address by a PROXY header")
    .action(async (flags: ProxyFlags) => {
      if (flags.nginx === true && flags.apache === true) throw usage('--nginx, --apache: one of them')
      const render = flags.nginx === true ? renderNginx : flags.apache === true ? renderApache : renderHaproxy
      if (flags.proxyProtocol === true && render !== renderHaproxy) {
        throw usage('--proxy-protocol: HAProxy alone can send such a header with HTTP')
      }
      const { config } = await load(flags)
      process.stdout.write(render(plan(config, flags)))
    })
    .addHelpText(
      'after',
      `
Prints it; nothing is written. haproxy/ in the package has what it prints for the defaults, and the reasons.

Examples:
  livemessage haproxy --servers 10.0.0.1:7777,10.0.0.2:7777 > /etc/haproxy/haproxy.cfg
  livemessage haproxy --nginx --no-tls --port 8080
  livemessage haproxy --apache > /etc/apache2/sites-available/livemessages.conf
`,
    )
}

function plan(config: Parameters<typeof planProxy>[0], flags: ProxyFlags): ProxyPlan {
  const { servers, certificate, tls, port: plainPort, tlsPort, proxyProtocol } = flags
  if (certificate !== undefined && !/^\/[^\s'"\\;{}]+$/.test(certificate)) {
    throw usage(`--certificate: expected an absolute path without spaces, got '${certificate}'`)
  }
  return planProxy(config, {
    ...(servers === undefined ? {} : { servers }),
    ...(tls ? (certificate === undefined ? {} : { certificate }) : { certificate: null }),
    ...(plainPort === undefined ? {} : { port: plainPort }),
    ...(tlsPort === undefined ? {} : { tlsPort }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
  })
}

function list(text: string): string[] {
  return text.split(',').map((one) => one.trim())
}

function port(text: string): number {
  const number = Number(text)
  if (/^\d{1,5}$/.test(text) && number > 0 && number < 65_536) return number
  throw new InvalidArgumentError('Expected a port, 1 to 65535.')
}
