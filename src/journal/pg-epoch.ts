import type { Identity, Look } from './pg-store.ts'

/** What a node has seen itself. */
export interface Seen {
  readonly epoch: string
  readonly head: number
  /** Positions, and the tags that this node delivered there. */
  readonly tags: ReadonlyMap<number, string>
}

/**
 * Why the journal that is found is not the one that clients' cursors are of; null when it is.
 *
 * A node that was there compares what it delivered with what stands in the table: that is a proof, whatever happened
 * to the server meanwhile. Where nobody was there, only what the server says of itself is left, and it is not trusted
 * across a promotion, a copied data folder, or a restart that may have lost commits.
 */
export function contradictionOf(look: Look, seen: Seen | null): string | null {
  const other = otherSystem(look)
  if (other !== null) return other
  let proved = false
  if (seen !== null) {
    if (look.head < seen.head) return 'the journal ends before what was delivered'
    for (const [index, [position, tag]] of [...seen.tags].entries()) {
      const found = look.tags[index] ?? null
      if (found === tag) proved ||= position === seen.head
      else if (found !== null) return 'other publications stand where some were delivered'
      else if (position > look.floor) return 'publications that were delivered are gone'
    }
    if (seen.head === 0) proved = true // nothing was delivered that could be contradicted
  }
  return proved ? null : suspicious(look)
}

/** Whether what is stored should be brought up to date. */
export function isNews({ stored, found }: Look): boolean {
  const keys: (keyof Identity)[] = ['system', 'timeline', 'postmaster', 'folder']
  return keys.some((key) => stored[key] !== found[key])
}

function otherSystem({ stored, found }: Look): string | null {
  return differs(stored, found, 'system') ? 'it is another database, or another server' : null
}

function suspicious({ stored, found, lossy }: Look): string | null {
  if (differs(stored, found, 'timeline')) return 'the server was restored or promoted while no node was there'
  if (!differs(stored, found, 'postmaster')) return null
  if (differs(stored, found, 'folder')) return 'the data folder is a copy, made while no node was there'
  return lossy ? 'the server was restarted while no node was there, and synchronous_commit is off' : null
}

/** Unknown on either side is no difference. */
function differs(stored: Identity, found: Identity, key: keyof Identity): boolean {
  return stored[key] !== null && found[key] !== null && stored[key] !== found[key]
}
