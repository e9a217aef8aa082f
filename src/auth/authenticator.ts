import { ClientError } from '../protocol/codes.ts'
import type { Credentials, User } from '../registry/define.ts'
import type { Services } from '../registry/context.ts'
import { runHook } from '../registry/hooks.ts'
import type { Rules } from '../rules.ts'
import { checkUser } from './users.ts'

/**
 * Finds out who it is: asks the `authenticate` hook, then the token. Null where there is nothing to go by.
 * @throws {ClientError} unauthenticated, unavailable, timeout
 */
export async function authenticate(
  credentials: Credentials,
  rules: Rules,
  services: Services,
): Promise<User | null> {
  const hook = rules.registry.hooks.authenticate
  if (hook !== null) {
    const call = {
      place: 'hooks.authenticate',
      connection: null,
      deadlineMs: rules.config.limits.authenticationMs,
    }
    const found = await runHook(call, services, (run) => hook(credentials, run))
    if (found !== null && found !== undefined) return checked(found, services)
  }
  if (credentials.token === null) return null
  if (hook !== null && !rules.tokens.configured) {
    throw new ClientError('unauthenticated', 'the token is not accepted')
  }
  return rules.tokens.verify(credentials.token)
}

function checked(found: User, services: Services): User {
  const user = checkUser(found, { id: 'id' })
  if (typeof user !== 'string') return user
  services.log.error({ hook: 'hooks.authenticate', problem: user }, 'hook answered no valid user')
  throw new ClientError('internal', 'hooks.authenticate failed')
}
