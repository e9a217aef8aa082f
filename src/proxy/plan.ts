import type { Config } from '../config/config.ts'
import { LivemessageError } from '../errors.ts'
import type { Address } from '../listeners/listener.ts'

/** What a proxy in front of the nodes must know; the same for HAProxy, nginx and Apache. */
export interface ProxyPlan {
  readonly nodes: readonly Address[]
  /** One PEM file with the certificate, its chain and its key; null: plain HTTP, another one ends TLS. */
  readonly certificate: string | null
  readonly port: number
  readonly tlsPort: number
  /** HAProxy only: the client's address goes by a PROXY v2 header in place of X-Forwarded-For. */
  readonly proxyProtocol: boolean
  readonly paths: PublicPaths
  /** The header by which the daemon is told the user (`auth.header`): what clients send of it is deleted. */
  readonly userHeader: string | null
  /** A body that is longer is refused. */
  readonly bodyBytes: number
  /** No answer and no frame may be silent for longer: what is, is dead. */
  readonly silenceMs: number
  /** What the daemon must have in `trustedProxies` for the addresses to be believed. */
  readonly trust: readonly string[]
}

/** What clients may reach; everything else is 404 at the proxy. */
export interface PublicPaths {
  /** Whole paths: `/ws`. */
  readonly exact: readonly string[]
  /** With all below them: `/call/`. */
  readonly folders: readonly string[]
  /** Where Socket.IO and Engine.IO are, with a slash at the end: their polling stays with one node. */
  readonly sticky: readonly string[]
}

export type PathsConfig = Pick<Config, 'calls' | 'predecessors' | 'socketio' | 'engineio'>

/** The folders, the sticky ones among them. */
export function openFolders({ folders, sticky }: PublicPaths): string[] {
  return [...folders, ...sticky]
}

export interface PlanOptions {
  /** `host:port` or paths of unix sockets. @default where the config's daemon listens */
  readonly servers?: readonly string[]
  /** @default /etc/ssl/private/livemessages.pem */
  readonly certificate?: string | null
  /** @default 80 */
  readonly port?: number
  /** @default 443 */
  readonly tlsPort?: number
  /** @default false */
  readonly proxyProtocol?: boolean
}

const CERTIFICATE = '/etc/ssl/private/livemessages.pem'

/** The daemon refuses smaller ones itself, and says why; Socket.IO polls with as much as this. */
const LEAST_BODY_BYTES = 1024 * 1024

/** A long poll may wait for so long before its answer begins. */
const LONGEST_POLL_MS = 60_000

/** A TLS port as it stands in a URL. */
export function portSuffix(tlsPort: number): string {
  return tlsPort === 443 ? '' : `:${tlsPort}`
}

/** @throws {LivemessageError} USAGE, for servers that are none */
export function planProxy(config: Config, options: PlanOptions = {}): ProxyPlan {
  const { certificate = CERTIFICATE, port = 80, tlsPort = 443, proxyProtocol = false } = options
  const servers = options.servers ?? []
  const nodes = servers.length === 0 ? [ownAddress(config)] : servers.map(parseServer)
  return {
    nodes,
    certificate,
    port,
    tlsPort,
    proxyProtocol,
    paths: publicPaths(config),
    userHeader: config.auth.header,
    bodyBytes: Math.max(LEAST_BODY_BYTES, config.limits.publicationBytes),
    silenceMs: Math.max(LONGEST_POLL_MS, 2 * config.pingMs + config.pongMs) + 15_000,
    trust: [...new Set(nodes.map(trustOf))],
  }
}

/**
 * What is not here is closed: `/publish`, `/api`, `/metrics`, `/admin`, `/healthz`, `/readyz`, the demo page, and
 * what comes later.
 */
export function publicPaths({ calls, predecessors, socketio, engineio }: PathsConfig): PublicPaths {
  return {
    exact: [
      ...['/ws', '/sse', '/poll', '/stream', '/command'],
      ...calls.aliases.keys(),
      // `POST /publish/` is for applications.
      ...(predecessors?.addresses !== true
        ? []
        : ['/listen', '/get_messages', '/messages'].flatMap(withSlash)),
    ],
    folders: [`${calls.prefix}/`, '/client/'],
    sticky: [socketio, engineio]
      .filter((one) => one !== null)
      .map(({ path }) => (path.endsWith('/') ? path : `${path}/`)),
  }
}

function withSlash(path: string): string[] {
  return [path, `${path}/`]
}

/** Names of the nodes in a proxy's config, in their order. */
export function nodeName(index: number): string {
  return `n${index + 1}`
}

export function seconds(ms: number): number {
  return Math.ceil(ms / 1000)
}

function ownAddress({ host, port, socket }: Config): Address {
  if (socket !== null) return { socket }
  // A node on all addresses is on this one too.
  const everywhere = host === '0.0.0.0' || host === '::' || host === ''
  return { host: everywhere ? '127.0.0.1' : host, port }
}

const SERVER = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})$/
const SOCKET = /^\/[A-Za-z0-9_.@/-]+$/

function parseServer(text: string): Address {
  if (SOCKET.test(text)) return { socket: text }
  const match = SERVER.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host !== undefined && port > 0 && port < 65_536) return { host, port }
  throw new LivemessageError(
    'USAGE',
    `--servers: expected host:port or the path of a unix socket, got '${text}'`,
  )
}

/** From whom the node gets the request, where that can be known. */
function trustOf(node: Address): string {
  if ('socket' in node) return 'unix'
  return node.host === '::1'
    ? '::1'
    : node.host === 'localhost' || node.host.startsWith('127.')
      ? '127.0.0.1'
      : 'the address of this proxy'
}
