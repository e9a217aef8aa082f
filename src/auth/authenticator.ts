import { ClientError } from '../protocol/codes.ts'
import type { Credentials, User } from '../registry/define.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Rules } from '../rules.ts'
import { placeUser } from './databases.ts'
import { looksLikeJwt } from './tokens.ts'
import { checkUser } from './users.ts'

/**
 * Finds out who it is: asks the `authenticate` hook, then takes a trusted proxy's word, then the token, then asks the
 * application. Null where there is nothing to go by. Whoever is revoked is refused, however it is known.
 * @throws {ClientError} unauthenticated, forbidden, unavailable, timeout
 */
export async function authenticate(
  credentials: Credentials,
  rules: Rules,
  services: Services,
): Promise<User | null> {
  const found = await find(credentials, rules, services)
  if (found === null) return null
  const user = placeUser(found, rules.config.databases)
  rules.revocations.check(user)
  return user
}

async function find(credentials: Credentials, rules: Rules, services: Services): Promise<User | null> {
  const hook = rules.registry.hooks.authenticate
  checkNamed(credentials.user)
  if (hook !== null) {
    const call = {
      place: 'hooks.authenticate',
      connection: null,
      deadlineMs: rules.config.limits.authenticationMs,
    }
    const found = await runHook(call, services, (run) => hook(credentials, run))
    if (found !== null && found !== undefined) return checked(found, services)
  }
  const { token, user } = credentials
  if (user !== undefined) return named(user)
  const { tokens, whoami } = rules
  if (token !== null && tokens.configured && (whoami === null || looksLikeJwt(token))) {
    return tokens.verify(token)
  }
  if (whoami !== null) {
    const found = await ask(credentials, rules)
    if (found !== null || token === null) return found
  }
  if (token === null) return null
  if (hook === null && whoami === null) return tokens.verify(token)
  throw new ClientError('unauthenticated', 'the token is not accepted')
}

async function ask(credentials: Credentials, { whoami, revocations, config }: Rules): Promise<User | null> {
  const answered = (await whoami?.whose(credentials)) ?? null
  if (answered === null) return null
  const found = placeUser(answered, config.databases)
  if (!revocations.refuses(found)) return found
  // It was asked before the revocation: since then it may have ended the session, and may not.
  whoami?.forget(found.id, found.database ?? null)
  return (await whoami?.whose(credentials)) ?? null
}

/**
 * In which encoding a proxy writes anything else nobody knows, and what can't be decoded becomes the same: two users would
 * be one. @throws {ClientError} unauthenticated
 */
function checkNamed(user: string | undefined): void {
  if (user === undefined || /^[\x20-\x7e]*$/.test(user)) return
  throw new ClientError(
    'unauthenticated',
    'the user that the proxy names: expected ASCII, percent-encoded for example',
  )
}

/** Whom a proxy named. */
function named(id: string): User {
  const user = checkUser({ id }, { id: 'the user that the proxy names' })
  if (typeof user === 'string') throw new ClientError('unauthenticated', user)
  return user
}

function checked(found: User, services: Services): User {
  const user = checkUser(found, { id: 'id' })
  if (typeof user !== 'string') return user
  services.log.error({ hook: 'hooks.authenticate', problem: user }, 'hook answered no valid user')
  throw new ClientError('internal', 'hooks.authenticate failed')
}
