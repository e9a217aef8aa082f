import { formatAddress } from '../listeners/address.ts'
import type { Address } from '../listeners/listener.ts'
import { deletedHeaders, NOT_FOUND, PLAIN_PATH } from './closed.ts'
import { portSuffix, type ProxyPlan, seconds } from './plan.ts'

/** A whole nginx.conf, for nginx 1.18 and later. */
export function renderNginx(plan: ProxyPlan): string {
  const { paths, certificate, port, tlsPort } = plan
  const silence = seconds(plan.silenceMs)
  const members = plan.nodes
    .map((node) => `        server ${placeOf(node)} max_fails=1 fail_timeout=1s;`)
    .join('\n')
  return `# nginx in front of livemessages. Printed by: livemessage haproxy --nginx. The reasons: haproxy/README.md
# The nodes need in their config: trustedProxies: [${plan.trust.map((one) => `'${one}'`).join(', ')}]

worker_processes auto;
# Two for each client, and some.
worker_rlimit_nofile 65536;
# After a reload the old workers live while they have a WebSocket: their clients are cut then, and come back.
worker_shutdown_timeout 60s;

events {
    worker_connections 16384;
}

http {
    # Without the query: it may hold a token.
    log_format livemessages '$remote_addr [$time_iso8601] "$request_method $uri $server_protocol" '
                            '$status $body_bytes_sent $request_time $upstream_addr $upstream_status';
    access_log /var/log/nginx/livemessages.log livemessages;
    server_tokens off;

    upstream livemessages {
        # What one worker learns of a node that is gone, all know.
        zone livemessages 128k;
        least_conn;
${members}
        keepalive 64;
        # Shorter than the 10 s after which a node ends an idle connection.
        keepalive_timeout 4s;
    }
${socketIoUpstream(plan, members)}
    map $http_upgrade $livemessages_connection {
        default upgrade;
        '' '';
    }

    # Judged as it came, for that is what is passed on: no //, no dots, nothing encoded.
    map $request_uri $livemessages_plain {
        default 0;
        '~${PLAIN_PATH.slice(0, -1)}(\\?|$)' 1;
    }
${
  certificate === null
    ? `
    server {
        listen ${port};
        listen [::]:${port};
`
    : `
    server {
        listen ${port};
        listen [::]:${port};
        return 308 https://$host${portSuffix(tlsPort)}$request_uri;
    }

    server {
        # HTTP/2 to the browser: over HTTP/1.1 it opens six connections to a host, and every SSE stream holds one.
        listen ${tlsPort} ssl http2;
        listen [::]:${tlsPort} ssl http2;
        ssl_certificate ${certificate};
        ssl_certificate_key ${certificate};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:livemessages_tls:10m;
`
}
        default_type application/json;
        client_header_timeout 10s;
        client_body_timeout 10s;
        client_max_body_size ${plan.bodyBytes};
        # A connection of many polls is not to be opened anew every thousandth time.
        keepalive_requests 100000;

        # HTTP/1.0, the default, is answered by the daemon with 505, and has no upgrade.
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $livemessages_connection;
        # With its port: pages of the same host are let in by it.
        proxy_set_header Host $http_host;
        # What a client says of where it comes from is not passed on.
${deletedHeaders(plan.userHeader)
  .filter((name) => !OWN.includes(name))
  .map((name) => `        proxy_set_header ${name} "";`)
  .join('\n')}
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        # A message leaves when it comes.
        proxy_buffering off;
        proxy_cache off;
        gzip off;
        # Keep-alive bytes come every ping, and a long poll answers within 60 s: what is silent for longer is dead.
        proxy_read_timeout ${silence}s;
        proxy_send_timeout ${silence}s;
        send_timeout ${silence}s;
        # A node that stops refuses: the next one is asked. What may have been done is not done twice.
        proxy_connect_timeout 1s;
        proxy_next_upstream error timeout http_503;
        proxy_next_upstream_tries 3;

        if ($livemessages_plain = 0) {
            return 404 '${NOT_FOUND}';
        }

        location ~ ^(${paths.exact.map(escape).join('|')})$ {
            proxy_pass http://livemessages;
        }

        location ~ ^(${paths.folders.map(escape).join('|')}) {
            proxy_pass http://livemessages;
        }

${socketIoLocation(paths)}        # Closed is what is not named above: /publish, /api, /metrics, /admin, /readyz, every other spelling of them.
        location / {
            return 404 '${NOT_FOUND}';
        }
    }
}
`
}

/** These it sets itself, which replaces what came. */
const OWN: readonly string[] = ['X-Forwarded-For', 'X-Forwarded-Proto']

function placeOf(node: Address): string {
  return 'socket' in node ? `unix:${node.socket}` : formatAddress(node)
}

/** For a regular expression: of what paths have, a dot alone needs it. */
function escape(path: string): string {
  return path.replaceAll('.', '\\.')
}

function socketIoUpstream({ paths }: ProxyPlan, members: string): string {
  if (paths.sticky.length === 0) return ''
  return `
    # Polling clients of Socket.IO must find the node that has their session: one address, one node.
    upstream livemessages_socketio {
        zone livemessages_socketio 128k;
        hash $remote_addr consistent;
${members}
        keepalive 64;
        keepalive_timeout 4s;
    }
`
}

function socketIoLocation({ sticky }: ProxyPlan['paths']): string {
  const one = (path: string): string => `        location ${path} {
            proxy_pass http://livemessages_socketio;
        }

`
  return sticky.map(one).join('')
}
