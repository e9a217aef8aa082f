import type { Home } from '../database/home.ts'
import { signToken } from '../auth/sign.ts'
import type { Live } from '../rules.ts'
import { ClientError } from '../protocol/codes.ts'
import { JSON_HEADERS, type Route } from './http.ts'
import { staticRoutes } from './static.ts'

/** Where the pages lie, seen from here: src/transports, or dist/src/transports. */
const FOLDER = new URL(
  import.meta.url.includes('/dist/') ? '../../../client/demo/' : '../../client/demo/',
  import.meta.url,
)

const FILES = [
  { path: '/', name: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/demo.js', name: 'demo.js', type: 'text/javascript; charset=utf-8' },
  { path: '/demo.css', name: 'demo.css', type: 'text/css; charset=utf-8' },
]

const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
}

/** The demo page and the tokens that it asks for; only with --dev, which only listens on loopback. */
export async function demoRoutes(live: Live, home: Home): Promise<Route[]> {
  const files = FILES.map(({ path, name, type }) => ({ path, type, file: new URL(name, FOLDER) }))
  return [
    ...(await staticRoutes(files, HEADERS)),
    {
      path: '/demo/setup',
      methods: {
        // A token for whoever is named, and how to publish: for pages of this very origin, no others.
        GET: (request, response) => {
          if (request.header('sec-fetch-site') !== 'same-origin') {
            throw new ClientError('forbidden', 'only for the demo page')
          }
          const { config } = live.rules
          const user = new URLSearchParams(request.query).get('user') ?? ''
          if (!/^[A-Za-z0-9_-]{1,32}$/.test(user))
            throw new ClientError('invalid_input', 'user: 1 to 32 letters')
          const answer = {
            token: signToken(user, config.auth.jwt?.secret ?? ''),
            user,
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
