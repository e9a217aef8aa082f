import type { Fanout } from '../../hub/link.ts'
import type { Listener } from '../../listeners/listener.ts'
import type { ConversationsDependencies } from '../conversations.ts'

/** A library that serves clients on our listener. */
export interface Attachment {
  readonly fanout: Fanout
  /** Serves at the config's path. Once, before the listener listens. */
  attach(listener: Pick<Listener<never>, 'engine'>, deps: ConversationsDependencies): void
  /** No new connections. The hub's clients are closed by whoever closes all of them. */
  drain(): void
  /** Resolves when the hooks have been told of those who left. */
  settle(): Promise<void>
  /** Ends what is left, before the listener closes. Idempotent. */
  stop(): void
}
