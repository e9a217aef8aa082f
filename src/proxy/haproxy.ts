import { formatAddress } from '../listeners/address.ts'
import type { Address } from '../listeners/listener.ts'
import { NOT_FOUND, PLAIN_PATH } from './closed.ts'
import { nodeName, openFolders, portSuffix, type ProxyPlan, seconds } from './plan.ts'

/** A whole haproxy.cfg, for HAProxy 2.6 and later. */
export function renderHaproxy(plan: ProxyPlan): string {
  const { paths } = plan
  return `# HAProxy in front of livemessages. Printed by: livemessage haproxy. The reasons: haproxy/README.md
# The nodes need in their config: trustedProxies: [${plan.trust.map((one) => `'${one}'`).join(', ')}]

global
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2
    # After a reload the old process lives while it has a WebSocket: its clients are cut then, and come back.
    hard-stop-after 60s
    # To drain a node by hand: echo "set server livemessages/n1 state drain" | socat stdio <this socket>
    # stats socket /run/haproxy/admin.sock mode 660 level admin

defaults
    mode http
    log global
    # Without the query: it may hold a token.
    log-format "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %ac/%fc/%bc/%sc/%rc %HM %HP %HV"
    option dontlognull
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout connect 1s
    timeout queue 5s
    timeout check 2s
    timeout client-fin 10s
    # Keep-alive bytes come every ping, and a long poll answers within 60 s: what is silent for longer is dead.
    timeout client ${seconds(plan.silenceMs)}s
    timeout server ${seconds(plan.silenceMs)}s
    timeout tunnel ${seconds(plan.silenceMs)}s

frontend livemessages
${bindings(plan)}
    # Closed is what is not named here: /publish, /api, /metrics, /admin, /readyz, and every other spelling of them.
    acl plain path_reg ${PLAIN_PATH}
    acl public path ${paths.exact.join(' ')}
    acl public path_beg ${openFolders(paths).join(' ')}
    http-request return status 404 content-type application/json string '${NOT_FOUND}' unless plain public

    # What a client says of where it comes from is not passed on.
    http-request del-header forwarded
    http-request del-header x-forwarded- -m beg
    http-request del-header x-real-ip
    http-request del-header proxy
${userHeader(plan)}${address(plan)}
${socketIoRule(paths)}    default_backend livemessages

backend livemessages
    balance leastconn
    option httpchk
    http-check send meth GET uri /readyz?scope=node ver HTTP/1.1 hdr Host livemessages
    http-check expect status 200
${RETRIES}
${servers(plan, () => 'check inter 1s fastinter 500ms fall 2 rise 1')}
${socketIoBackend(plan)}`
}

const RETRIES = `    # A node that stops refuses: the next one is asked. What may have been done is not done twice.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 503
    http-request disable-l7-retry unless METH_GET
    # Shorter than the 10 s after which a node ends an idle connection.
    default-server pool-purge-delay 4s`

function bindings({ certificate, port, tlsPort }: ProxyPlan): string {
  if (certificate === null) return `    bind :${port}`
  return `    bind :${port}
    # HTTP/2 to the browser: over HTTP/1.1 it opens six connections to a host, and every SSE stream holds one.
    bind :${tlsPort} ssl crt ${certificate} alpn h2,http/1.1
    http-request redirect ${toTls(port, tlsPort)} code 308 unless { ssl_fc }`
}

/** The host that the client named, without the port that it named there. */
function toTls(port: number, tlsPort: number): string {
  if (port === 80 && tlsPort === 443) return 'scheme https'
  return `location https://%[req.hdr(host),regsub(:[0-9]+$,)]${portSuffix(tlsPort)}%[pathq]`
}

/** Whoever sets it for those that it knows does so below. */
function userHeader({ userHeader: name }: ProxyPlan): string {
  return name === null ? '' : `    http-request del-header ${name}\n`
}

function address({ proxyProtocol, certificate }: ProxyPlan): string {
  // With a PROXY header the daemon still reads X-Forwarded-For where the header names a trusted proxy: none is sent.
  if (proxyProtocol) return '    # The address goes by a PROXY header: send-proxy-v2 below.'
  const proto = certificate === null ? 'http' : 'https'
  return `    http-request set-header x-forwarded-for %[src]
    http-request set-header x-forwarded-proto ${proto}`
}

function servers(plan: ProxyPlan, checked: (name: string) => string): string {
  const proxy = plan.proxyProtocol ? ' send-proxy-v2' : ''
  return plan.nodes
    .map(
      (node, index) => `    server ${nodeName(index)} ${placeOf(node)} ${checked(nodeName(index))}${proxy}`,
    )
    .join('\n')
}

function placeOf(node: Address): string {
  return 'socket' in node ? `unix@${node.socket}` : formatAddress(node)
}

function socketIoRule({ sticky }: ProxyPlan['paths']): string {
  if (sticky.length === 0) return ''
  return `    use_backend livemessages_socketio if { path_beg ${sticky.join(' ')} }\n`
}

function socketIoBackend(plan: ProxyPlan): string {
  if (plan.paths.sticky.length === 0) return ''
  return `
# Polling clients of Socket.IO must find the node that has their session: its id is learned from the handshake.
backend livemessages_socketio
    balance leastconn
    stick-table type string len 64 size 200k expire 2m
    http-request set-var(txn.sid) url_param(sid)
    stick match url_param(sid)
    http-response wait-for-body time 1s unless { var(txn.sid) -m found } || !{ status 200 }
    stick store-response res.body,bytes(1),json_query('$.sid') unless { var(txn.sid) -m found } || !{ status 200 }
${RETRIES}
${servers(plan, (name) => `track livemessages/${name}`)}
`
}
