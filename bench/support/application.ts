import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Job } from '../publisher.ts'

const PUBLISHER = fileURLToPath(new URL('../publisher.ts', import.meta.url))

/** A publishing application in a process of its own, connected and waiting for its start. */
export interface Application {
  /** Resolves when everything is published and the process has ended. */
  run(): Promise<void>
}

export async function startApplication(job: Job): Promise<Application> {
  const child = spawn(process.execPath, ['--import', 'tsx', PUBLISHER, JSON.stringify(job)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit').then(([code]) => {
    if (code !== 0) throw new Error(`the ${job.source} publisher ended with ${String(code)}`)
  })
  await Promise.race([once(child, 'message'), ended])
  return {
    run() {
      child.send('go')
      return ended
    },
  }
}
