import { ClientError } from '../protocol/codes.ts'
import type { Connection } from '../registry/define.ts'
import type { RosterDetail } from './signal.ts'

/** A connection that ended with its node: all that is known of it, and nothing that it could do. */
export class LostConnection implements Connection {
  readonly session: string
  readonly user: string | null
  readonly database: string | null
  readonly info: unknown
  readonly address: string
  readonly transport: string
  readonly since: number
  readonly channels: readonly string[] = []
  readonly bag = new Map<string, unknown>()

  constructor({ session, user, database, info, address, transport, since }: RosterDetail) {
    this.session = session
    this.user = user
    this.database = database
    this.info = info
    this.address = address
    this.transport = transport
    this.since = since
  }

  emit(): boolean {
    return false
  }

  emitWithAck(): Promise<readonly unknown[]> {
    return Promise.reject(gone())
  }

  broadcast(): void {
    // Nobody is left who could say something.
  }

  send(): boolean {
    return false
  }

  subscribe(): Promise<void> {
    return Promise.reject(gone())
  }

  unsubscribe(): void {
    // It is on no channel.
  }

  disconnect(): void {
    // It is.
  }
}

function gone(): ClientError {
  return new ClientError('unavailable', 'the connection ended with its node')
}
