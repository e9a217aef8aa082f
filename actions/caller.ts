import { type ActionContext, ClientError } from 'livemessages'

/** The user who calls: whatever an action does is done to this user's rows and no others. */
export function callerOf({ user, subsystem, action }: ActionContext): string {
  if (user !== null) return user
  throw new ClientError('unauthenticated', `${subsystem}.${action} is for authenticated users`)
}
