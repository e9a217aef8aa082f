import { ClientError, isClientError } from '../protocol/codes.ts'
import type { MaybePromise } from '../sources/source.ts'
import { Run, type Services } from './context.ts'
import { pending, withDeadline } from './deadline.ts'
import type { Connection } from './define.ts'

/** Who runs a hook, for how long, and for which connection. */
export interface HookCall {
  /** `hooks.connect`, `chat.subscribe`: its place in the config. */
  readonly place: string
  /** Where the module came from, for who is told more than clients are. @default it is not named */
  readonly path?: string
  readonly connection: Connection | null
  /** For whom, where there is no connection. @default nobody */
  readonly user?: string | null
  /** For whose database, where there is no connection; null: the home one. @default null */
  readonly database?: string | null
  readonly deadlineMs: number
}

/**
 * Runs a hook. What it throws as ClientError is thrown on; anything else is logged and becomes `internal`,
 * with the original as its cause; a hook that hangs becomes `timeout`.
 */
export function runHook<T>(
  { place, path, connection, user, database, deadlineMs }: HookCall,
  services: Services,
  hook: (run: Run) => MaybePromise<T>,
): MaybePromise<T> {
  const [subsystem = '', key = ''] = place.split('.')
  const { turns } = services
  const began = performance.now()
  const run = new Run(services, subsystem, key, connection, user, began + deadlineMs, 0, database)
  let result: MaybePromise<T>
  let work: Promise<T> | null
  try {
    result = hook(run)
    work = pending(result)
  } catch (error) {
    run.end()
    throw toClientError(error, place, path, services)
  } finally {
    turns.ran(place, began)
  }
  if (work === null) {
    run.end()
    return result
  }
  turns.wait(run)
  return withDeadline(work, deadlineMs, place, {
    onTimeout: (error) => {
      run.abort(error)
      services.log.warn({ hook: place, deadlineMs }, 'hook timed out')
    },
    onLate: (error) => services.log.warn({ hook: place, err: error }, 'hook failed after its deadline'),
  })
    .catch((error: unknown) => {
      throw toClientError(error, place, path, services)
    })
    .finally(() => {
      run.end()
      turns.done(run)
    })
}

/** A module's place in the config and where it came from: for logs and operators, not for clients. */
export function withPath(place: string, path: string | undefined): string {
  if (path === undefined) return place
  return path.startsWith('(') ? `${place} ${path}` : `${place} (${path})`
}

function toClientError(
  error: unknown,
  place: string,
  path: string | undefined,
  services: Services,
): ClientError {
  if (isClientError(error)) return error
  const named = path === undefined ? {} : { path }
  services.log.error({ hook: place, ...named, err: error }, 'hook failed')
  const told = new ClientError('internal', `${withPath(place, path)} failed`)
  // Not for clients: a source tells it with the message that it gives up.
  told.cause = error
  return told
}
