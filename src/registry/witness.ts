import { url as debuggerUrl } from 'node:inspector'
import { Worker } from 'node:worker_threads'
import { WITNESS_THREAD } from './witness-thread.ts'

/** Says where the main thread is while it does not come round. */
export interface Witness {
  /** The main thread is here. */
  beat(limitMs: number): void
  /** The stack of the turn that has just ended, the innermost frame first; empty where it was not seen in time. */
  seen(): Promise<readonly string[]>
  stop(): void
}

/** How long a stack may take to come over, and how long it counts: it may have been that of a turn that was measured. */
const WAIT_MS = 500

/** Starts a thread; null where a debugger is attached, which a pause of ours would disturb. */
export function startWitness(onError: (error: unknown) => void): Witness | null {
  if (debuggerUrl() !== undefined) return null
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(WITNESS_THREAD, { eval: true, workerData: shared, execArgv: [] })
  worker.unref()
  worker.on('error', onError)
  let frames: readonly string[] = []
  let came = -Infinity
  let wake: (() => void) | null = null
  worker.on('message', (stack: readonly string[]) => {
    frames = stack
    came = performance.now()
    wake?.()
  })
  return {
    beat(limitMs) {
      Atomics.store(shared, 1, Math.min(limitMs, 2 ** 31 - 1))
      Atomics.add(shared, 0, 1)
    },
    async seen() {
      if (performance.now() - came > WAIT_MS) {
        frames = []
        await new Promise<void>((resolve) => {
          wake = resolve
          setTimeout(resolve, WAIT_MS).unref()
        })
        wake = null
      }
      const stack = frames
      frames = []
      return stack
    },
    stop() {
      worker.terminate().catch(onError)
    },
  }
}
