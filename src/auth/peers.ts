import { createHash, timingSafeEqual } from 'node:crypto'
import type { ApiConfig } from '../config/config.ts'
import { ConfigError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { bearerOf } from './bearer.ts'
import { addressOf, walkForwarded } from './forwarded.ts'
import { canonicalAddress, createRanges, isLoopback } from './ip.ts'

/** What is asked of a request: the listener's own fits. */
export interface PeerRequest {
  /** The peer's address; empty on a unix socket. */
  readonly address: string
  /**
   * The address that a PROXY protocol header named before the request, empty when there was none. uWS reads
   * such headers from whoever sends them.
   */
  readonly proxiedAddress?: string
  header(name: string): string
  /** Every header, names in lower case, one of a name as often as it came. */
  eachHeader(visit: (name: string, value: string) => void): void
}

export type PublishAnswer =
  | {
      readonly ok: true
      /** Whose idempotency keys these are: `loopback`, or `key:` and the key's fingerprint. */
      readonly publisher: string
    }
  | { readonly ok: false; readonly code: 'unauthenticated' | 'forbidden'; readonly message: string }

export interface Peers {
  /**
   * Whom a request is from: the peer or, where that is a trusted proxy, whom it names in a PROXY header; or,
   * where there is none or that is a trusted proxy too, in X-Forwarded-For, else in Forwarded, else in
   * X-Real-IP. The first of these headers that is there counts: a proxy must set it or delete what the
   * client sent.
   */
  clientAddress(request: PeerRequest): string
  /** Whether it comes by a trusted proxy: what that says of the user counts. */
  isByProxy(request: PeerRequest): boolean
  /** May it publish and use the server API? By an API key, or as a process of this machine. */
  mayPublish(request: PeerRequest): PublishAnswer
  /** Would it be let in as a process of this machine, were it not for being a browser's? */
  isOwnBrowser(request: PeerRequest): boolean
}

export interface PeersOptions {
  readonly trustedProxies: readonly string[]
  readonly api: ApiConfig
  /** The unix socket that is listened on, if one is: then nobody is this machine's own. */
  readonly socket: string | null
}

/** @throws {ConfigError} for ranges that are none, and for keys that no header can carry */
export function createPeers({ trustedProxies, api, socket }: PeersOptions): Peers {
  const trusted = createRanges(trustedProxies, 'trustedProxies')
  const keys = createKeys(api.keys)
  const headers = new Headers()
  const loopback = api.loopback && socket === null && trusted.empty
  const withoutKey = keys === null ? NO_KEYS : NEEDS_KEY

  return {
    clientAddress(request) {
      let peer = canonicalAddress(request.address) || request.address
      if (trusted.empty || !trusted.has(peer)) return peer
      peer = canonicalAddress(request.proxiedAddress ?? '') || peer
      if (!trusted.has(peer)) return peer
      headers.read(request)
      const list = headers.forwardedFor || headers.forwarded
      if (list !== '') return walkForwarded(list, peer, trusted)
      return (headers.realAddress !== '' && addressOf(headers.realAddress.trim())) || peer
    },

    isByProxy(request) {
      return !trusted.empty && trusted.has(canonicalAddress(request.address) || request.address)
    },

    mayPublish(request) {
      if (keys !== null) {
        const authorization = request.header('authorization')
        if (authorization !== '') return keys.find(authorization) ?? UNKNOWN_KEY
      }
      if (!loopback || !isLoopback(request.address)) return withoutKey
      headers.read(request)
      if (headers.fromPage || headers.foreign || !headers.ownHost) return FOREIGN
      return (request.proxiedAddress ?? '') === '' ? OWN_MACHINE : FOREIGN
    },

    isOwnBrowser(request) {
      if (!loopback || !isLoopback(request.address)) return false
      headers.read(request)
      return !headers.foreign && headers.ownHost && (request.proxiedAddress ?? '') === ''
    },
  }
}

/** Whose the idempotency keys of processes of this machine are. */
export const LOOPBACK = 'loopback'

const OWN_MACHINE: PublishAnswer = { ok: true, publisher: LOOPBACK }
const NEEDS_KEY: PublishAnswer = {
  ok: false,
  code: 'unauthenticated',
  message: 'an API key is needed here: send one of api.keys as Authorization: Bearer <key>',
}
const UNKNOWN_KEY: PublishAnswer = {
  ok: false,
  code: 'unauthenticated',
  message: 'the Authorization header holds no key of api.keys',
}
const NO_KEYS: PublishAnswer = {
  ok: false,
  code: 'forbidden',
  message: 'this is allowed with an API key only, and the config has none: set api.keys',
}
const FOREIGN: PublishAnswer = {
  ok: false,
  code: 'forbidden',
  message:
    'without an API key this is for programs on this machine: the request came from a browser or through ' +
    'a proxy, carries Authorization, its Host is not a loopback name, or its Connection header says close or ' +
    'upgrade, as proxies do; send one of api.keys as Authorization: Bearer <key>',
}

/**
 * What the headers of one request say. One object for all requests, filled in one pass over the headers:
 * reading is synchronous and nothing of it is kept.
 */
class Headers {
  /** A header that proxies add, or credentials that nobody here knows. */
  foreign = false
  /** A header that only browsers add. */
  fromPage = false
  /** There is a Host, and it names this machine. */
  ownHost = false
  forwardedFor = ''
  forwarded = ''
  realAddress = ''
  #lastHost = ''
  #lastHostIsOwn = false

  read(request: PeerRequest): void {
    this.foreign = false
    this.fromPage = false
    this.ownHost = false
    this.forwardedFor = ''
    this.forwarded = ''
    this.realAddress = ''
    request.eachHeader(this.#visit)
  }

  // By length first: nearly every header is passed over after one comparison of numbers.
  readonly #visit = (name: string, value: string): void => {
    switch (name.length) {
      case 3:
        if (name === 'via') this.foreign = true
        return
      case 4:
        if (name === 'host') this.#host(value)
        return
      case 6:
        if (name === 'origin') this.fromPage = true
        return
      case 9:
        if (name === 'forwarded') {
          this.foreign = true
          this.forwarded = joined(this.forwarded, value)
        } else if (name === 'x-real-ip') {
          this.foreign = true
          this.realAddress = joined(this.realAddress, value)
        }
        return
      case 10:
        // nginx, unless told otherwise, adds no header that names the client, and makes itself the Host: that
        // it closes each connection, or passes an upgrade on, is all that shows of it.
        if (name === 'connection' && value !== 'keep-alive' && CLOSE_OR_UPGRADE.test(value)) {
          this.foreign = true
        }
        return
      case 13:
        if (name === 'authorization') this.foreign = true
        return
      case 14:
        if (name === 'sec-fetch-site') this.fromPage = true
        break
    }
    if (name.length > 11 && name.charCodeAt(0) === 0x78 && name.startsWith('x-forwarded-')) {
      this.foreign = true
      // HAProxy adds a header of its own behind the client's: the first of the name alone is the client's word.
      if (name === 'x-forwarded-for') this.forwardedFor = joined(this.forwardedFor, value)
    }
  }

  #host(value: string): void {
    if (value !== this.#lastHost) {
      this.#lastHost = value
      this.#lastHostIsOwn = isLoopbackHost(value)
    }
    this.ownHost = this.#lastHostIsOwn
    if (!this.ownHost) this.foreign = true
  }
}

const CLOSE_OR_UPGRADE = /(?:^|,)\s*(?:close|upgrade)\s*(?:,|$)/i

function joined(before: string, value: string): string {
  return before === '' ? value : `${before},${value}`
}

const LOOPBACK_HOST = /^(?:localhost|(127\.\d{1,3}\.\d{1,3}\.\d{1,3})|\[::1\])(?::\d{1,5})?$/i

/** Whether a Host header names this machine. */
export function isLoopbackHost(host: string): boolean {
  const match = LOOPBACK_HOST.exec(host)
  return match !== null && (match[1] === undefined || isLoopback(match[1]))
}

/** The longest API key. */
const MAX_KEY = 256

interface Keys {
  find(authorization: string): PublishAnswer | null
}

// Compared padded to one length, so that neither the bytes nor the length of a key show in the time taken;
// hashing both, the other way to that, takes twice as long on a path of tens of thousands of requests a second.
function createKeys(list: readonly string[]): Keys | null {
  const problems: Problem[] = []
  const keys = list.map((key, index) => {
    if (!/^[\x21-\x7e]+$/.test(key) || key.length > MAX_KEY) {
      problems.push({
        code: 'CONFIG_INVALID',
        key: `api.keys[${index}]`,
        message: `expected 1 to ${MAX_KEY} printable ASCII characters without spaces`,
      })
    }
    const answer: PublishAnswer = { ok: true, publisher: `key:${fingerprint(key)}` }
    const padded = Buffer.alloc(MAX_KEY + 1)
    pad(padded, key)
    return { padded, answer }
  })
  if (problems.length > 0) throw new ConfigError(problems, null)
  if (keys.length === 0) return null
  const given = Buffer.alloc(MAX_KEY + 1)
  return {
    find(authorization) {
      const key = bearerOf(authorization)
      if (key === null || key.length > MAX_KEY) return null
      if (!pad(given, key)) return null
      let found: PublishAnswer | null = null
      for (const { padded, answer } of keys) if (timingSafeEqual(given, padded)) found = answer
      return found
    },
  }
}

/** Fills the buffer with the key, zeros and the key's length; false when the key is not ASCII. */
function pad(buffer: Buffer, key: string): boolean {
  buffer.fill(0)
  const bytes = buffer.write(key, 0, MAX_KEY)
  buffer[MAX_KEY] = key.length & 0xff
  return bytes === key.length
}

// By the key and not by its place in the list: the scope stays when keys are added or put in another order,
// and is the same on every node.
function fingerprint(key: string): string {
  return createHash('sha256').update(`livemessages publisher\n${key}`).digest('hex').slice(0, 12)
}
