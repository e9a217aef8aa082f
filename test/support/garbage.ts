import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects all garbage, as a process does that has run for a while. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect !== 'function') throw new Error('v8 does not lend its collector')
  collect()
}

/** Collects it again and again; returns what ends that. */
export function litter(everyMs = 20): () => void {
  const timer = setInterval(collectGarbage, everyMs)
  return () => clearInterval(timer)
}
