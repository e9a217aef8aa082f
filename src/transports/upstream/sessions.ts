import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { isNodeName } from '../../bus/node-name.ts'
import type { Client } from '../../hub/client.ts'
import { ClientError } from '../../protocol/codes.ts'

/** What a request shows of the session that it is for. */
export interface Pass {
  /** The public name. */
  readonly session: string
  readonly secret: string
}

export interface SessionsDependencies {
  /** This node's name: every secret begins with it. */
  readonly node: string
  get(session: string): Client | undefined
}

/**
 * Sessions that span requests: who receives over one connection is told a secret there, and whoever shows it in other
 * requests acts as that connection. Nothing is kept for them: a secret is `<node>.<mac>`, the MAC of the session's name
 * under a key that only this process has and that ends with it.
 */
export class Sessions {
  readonly #deps: SessionsDependencies
  readonly #key = randomBytes(32)

  constructor(deps: SessionsDependencies) {
    this.#deps = deps
  }

  /** The secret of a connection: for its client's eyes only. */
  issue(client: Pick<Client, 'session'>): string {
    return `${this.#deps.node}.${this.#macOf(client.session)}`
  }

  /** @throws {ClientError} forbidden where the secret is not the session's; unknown_session when that is over */
  find({ session, secret }: Pass): Client {
    if (!isEqual(secret, this.issue({ session }))) throw wrongSecret()
    return this.#clientOf(session)
  }

  /** As `find`, for another node that passes a command on and shows `proofOf` in place of the secret. */
  findByProof(session: string, text: string, proof: string): Client {
    if (!isEqual(proof, proofOf({ session, secret: this.issue({ session }) }, text))) throw wrongSecret()
    return this.#clientOf(session)
  }

  #clientOf(session: string): Client {
    const client = this.#deps.get(session)
    if (client?.open === true) return client
    throw unknownSession()
  }

  #macOf(session: string): string {
    return createHmac('sha256', this.#key)
      .update(session)
      .digest()
      .subarray(0, MAC_BYTES)
      .toString('base64url')
  }
}

/** 144 bits, and no padding in base64. */
const MAC_BYTES = 18

/** The node that has the session. @throws {ClientError} forbidden for what is no secret */
export function nodeOf({ session, secret }: Pass): string {
  const node = secret.slice(0, secret.indexOf('.'))
  if (!isNodeName(node) || !SECRET.test(secret) || !SESSION.test(session)) throw wrongSecret()
  return node
}

/** Shows that one has the secret, for this text only: any role of a shared database may overhear what nodes say. */
export function proofOf({ session, secret }: Pass, text: string): string {
  return createHmac('sha256', secret).update(`${session}\n${text}`).digest('base64url')
}

export function unknownSession(): ClientError {
  return new ClientError('unknown_session', 'that connection is over: open a new one')
}

const SESSION = /^[A-Za-z0-9_-]{1,64}$/
const SECRET = /^[a-z0-9]{1,32}\.[A-Za-z0-9_-]{24}$/

function wrongSecret(): ClientError {
  return new ClientError('forbidden', "the secret is not this session's; both come in the `welcome`")
}

function isEqual(given: string, right: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}
