import path from 'node:path'
import type { Peers } from '../auth/peers.ts'
import { signToken } from '../auth/sign.ts'
import type { Config } from '../config/config.ts'
import type { Home } from '../database/home.ts'
import { ClientError } from '../protocol/codes.ts'
import type { Request } from '../listeners/listener.ts'
import type { Live } from '../rules.ts'
import { JSON_HEADERS, type Route } from './http.ts'
import { staticRoutes } from './static.ts'

/** Where the page's files lie, seen from src/transports, or from dist/src/transports. */
const FOLDER = new URL(
  import.meta.url.endsWith('.ts') ? '../../client/demo/' : '../../../client/demo/',
  import.meta.url,
)

const SCRIPT = 'text/javascript; charset=utf-8'

const FILES = [
  { path: '/', name: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/demo/demo.css', name: 'demo.css', type: 'text/css; charset=utf-8' },
  ...['demo.js', 'connection.js', 'chat.js', 'messages.js', 'ways.js', 'dom.js'].map((name) => ({
    path: `/demo/${name}`,
    name,
    type: SCRIPT,
  })),
]

// The page shows what anybody published: no script but its own, and no text that becomes markup.
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
}

export interface DemoDependencies {
  readonly live: Live
  readonly home: Home
  readonly listener: 'uws' | 'node'
}

/** The demo page and the tokens that it asks for; only with --dev, which only listens on loopback. */
export async function demoRoutes({ live, home, listener }: DemoDependencies): Promise<Route[]> {
  const files = FILES.map(({ path, name, type }) => ({ path, type, file: new URL(name, FOLDER) }))
  return [
    ...(await staticRoutes(files, HEADERS)),
    {
      path: '/demo/setup',
      methods: {
        // How to publish here, and a token for whoever is named.
        GET: (request, response) => {
          const { config, peers } = live.rules
          checkOwnPage(request, peers)
          const user = new URLSearchParams(request.query).get('user')
          if (user !== null && !/^[A-Za-z0-9_-]{1,32}$/.test(user)) {
            throw new ClientError('invalid_input', 'user: 1 to 32 of A-Z a-z 0-9 _ -')
          }
          const answer = {
            user,
            token: user === null ? null : signToken(user, config.auth.jwt),
            listener,
            ...placeOf(config),
            ways: {
              http: `http://${request.header('host')}`,
              sql: config.postgres === null ? null : home.embedded ? 'embedded' : 'postgres',
              amqp: config.broker === null ? null : config.broker.exchange,
            },
          }
          response.reply(200, { ...JSON_HEADERS, 'Cache-Control': 'no-store' }, JSON.stringify(answer))
        },
      },
    },
  ]
}

/**
 * Tokens are for the demo page alone, in a browser of this machine: a proxy would bring anybody's. A foreign name
 * that leads to this machine (DNS rebinding) makes a page of its own origin, too: the Host counts as well.
 */
function checkOwnPage(request: Request, peers: Peers): void {
  if (request.header('sec-fetch-site') === 'same-origin' && peers.isOwnBrowser(request)) return
  throw new ClientError(
    'forbidden',
    'only for the demo page, opened at localhost without a proxy in between, while api.loopback is not false',
  )
}

/** Where the command line finds this daemon's config. */
function placeOf({ root, file }: Config): { folder: string; config: string | null } {
  const found =
    file === null || /^(livemessages\.config\.(ts|js|mjs|json)|package\.json)$/.test(path.basename(file))
  return { folder: root, config: found ? null : path.relative(root, file) }
}
