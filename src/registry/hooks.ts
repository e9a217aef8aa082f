import { ClientError, isClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Run, type Services } from './context.ts'
import { pending, withDeadline } from './deadline.ts'
import type { Connection } from './define.ts'

/** Who runs a hook, for how long, and for which connection. */
export interface HookCall {
  /** `hooks.connect`, `chat.subscribe`: its place in the config. */
  readonly place: string
  readonly connection: Connection | null
  /** For whom, where there is no connection. @default nobody */
  readonly user?: string | null
  readonly deadlineMs: number
}

/**
 * Runs a hook. What it throws as ClientError is thrown on; anything else is logged and becomes `internal`,
 * with the original as its cause; a hook that hangs becomes `timeout`.
 */
export function runHook<T>(
  { place, connection, user, deadlineMs }: HookCall,
  services: Services,
  hook: (run: Run) => MaybePromise<T>,
): MaybePromise<T> {
  const [subsystem = '', key = ''] = place.split('.')
  const run = new Run(services, subsystem, key, connection, user)
  let result: MaybePromise<T>
  let work: Promise<T> | null
  try {
    result = hook(run)
    work = pending(result)
  } catch (error) {
    run.end()
    throw toClientError(error, place, services)
  }
  if (work === null) {
    run.end()
    return result
  }
  return withDeadline(work, deadlineMs, place, {
    onTimeout: (error) => {
      run.abort(error)
      services.log.warn({ hook: place, deadlineMs }, 'hook timed out')
    },
    onLate: (error) => services.log.warn({ hook: place, err: error }, 'hook failed after its deadline'),
  })
    .catch((error: unknown) => {
      throw toClientError(error, place, services)
    })
    .finally(() => run.end())
}

function toClientError(error: unknown, place: string, services: Services): ClientError {
  if (isClientError(error)) return error
  services.log.error({ hook: place, err: error }, 'hook failed')
  const told = new ClientError('internal', `${place} failed`)
  // Not for clients: a source tells it with the message that it gives up.
  told.cause = error
  return told
}
