import { formatAddress } from '../listeners/address.ts'
import type { Address } from '../listeners/listener.ts'
import { deletedHeaders } from './closed.ts'
import { nodeName, openFolders, portSuffix, type ProxyPlan, seconds } from './plan.ts'

/** What `a2enmod` must be told: all that the config uses and Debian does not load by itself. */
export const APACHE_MODULES: readonly string[] = [
  'proxy',
  'proxy_http',
  'proxy_balancer',
  'proxy_hcheck',
  'lbmethod_byrequests', // the default, which must be there
  'lbmethod_bybusyness',
  'slotmem_shm',
  'headers',
  'ssl',
  'http2',
]

/** A site for Apache 2.4.55 and later, with mpm_event. */
export function renderApache(plan: ProxyPlan): string {
  const { certificate, port, tlsPort } = plan
  return `# Apache in front of livemessages. Printed by: livemessage haproxy --apache. The reasons: haproxy/README.md
# The nodes need in their config: trustedProxies: [${plan.trust.map((one) => `'${one}'`).join(', ')}]
# a2enmod ${APACHE_MODULES.join(' ')}
# Every open WebSocket, stream and parked poll holds a thread: see docs/proxies.md, limits.

<Proxy "balancer://livemessages">
${plan.nodes.map((node, index) => member(node, nodeName(index), seconds(plan.silenceMs))).join('\n')}
${balancing(plan.paths)}
</Proxy>

# Without the query: it may hold a token.
LogFormat "%h %t \\"%m %U %H\\" %>s %B %D" livemessages
${
  certificate === null
    ? `
<VirtualHost *:${port}>
`
    : `
# Each stream of an HTTP/2 connection holds one of these, in every process of the server.
H2MinWorkers 32
H2MaxWorkers 512

<VirtualHost *:${port}>
    <Location "/">
        Redirect 308 "https://%{SERVER_NAME}${portSuffix(tlsPort)}%{REQUEST_URI}?%{QUERY_STRING}"
    </Location>
</VirtualHost>

<VirtualHost *:${tlsPort}>
    # HTTP/2 to the browser: over HTTP/1.1 it opens six connections to a host, and every SSE stream holds one.
    Protocols h2 http/1.1
    SSLEngine on
    SSLCertificateFile ${certificate}
    SSLProtocol -all +TLSv1.2 +TLSv1.3
`
}
    CustomLog \${APACHE_LOG_DIR}/livemessages.log livemessages
    LimitRequestBody ${plan.bodyBytes}

    # Of pages of the same host it is the Host that lets them in.
    ProxyPreserveHost On
    # What a client says of where it comes from is not passed on.
    ProxyAddHeaders Off
${deletedHeaders(plan.userHeader)
  .map((name) => `    RequestHeader unset ${name}`)
  .join('\n')}
    RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"
    RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"
    # A message leaves when it comes: mod_deflate, where it is on, would hold it back.
    SetEnv no-gzip 1

    # Closed is what is not named here: /publish, /api, /metrics, /admin, /readyz, and every other spelling of them.
    RedirectMatch 404 "^(?!/${open(plan)}$)"
    ProxyPassMatch "^/${open(plan)}$" "balancer://livemessages/$1"
${socketIoCookie(plan.paths)}</VirtualHost>
`
}

/** Apache looks at the path when it is decoded and its dots and double slashes are gone, and passes on that. */
function open({ paths }: ProxyPlan): string {
  const exact = paths.exact.map(escape)
  const folders = openFolders(paths).map((folder) => `${escape(folder)}[A-Za-z0-9_.~/-]*`)
  return `(${[...exact, ...folders].join('|')})`
}

function member(node: Address, name: string, silence: number): string {
  const url = 'socket' in node ? `unix:${node.socket}|http://localhost` : `http://${formatAddress(node)}`
  return (
    // A node that stops refuses connections, and the next one is asked. On one that was kept it would answer 503, which
    // Apache passes on: none is kept.
    `    BalancerMember "${url}" route=${name} upgrade=websocket disablereuse=on timeout=${silence} \\\n` +
    // Checks by plain GET are HTTP/1.0, which uWebSockets.js refuses.
    `        connectiontimeout=1 flushpackets=on retry=1 \\\n` +
    `        hcmethod=GET11 hcuri=/readyz?scope=node hcinterval=1 hcpasses=1 hcfails=1`
  )
}

/** Without the slash at its beginning, which the balancer's own URL has. */
function escape(path: string): string {
  return path.slice(1).replaceAll('.', '\\.')
}

function balancing({ sticky }: ProxyPlan['paths']): string {
  if (sticky.length === 0) return '    ProxySet lbmethod=bybusyness'
  return `    # Polling clients of Socket.IO must find the node that has their session: a cookie names it.
    ProxySet lbmethod=bybusyness stickysession=livemessages_node`
}

function socketIoCookie({ sticky }: ProxyPlan['paths']): string {
  const one = (path: string): string => `
    <Location "${path}">
        Header add Set-Cookie "livemessages_node=.%{BALANCER_WORKER_ROUTE}e; Path=${path}; HttpOnly; SameSite=Lax" env=BALANCER_ROUTE_CHANGED
    </Location>
`
  return sticky.map(one).join('')
}
