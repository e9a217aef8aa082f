import { watch as watchFiles } from 'chokidar'
import type { Daemon } from '../daemon.ts'

export interface WatchOptions {
  readonly signal: AbortSignal
  onChange(): void
  /** Changes that come within this time are one. @default 100 */
  readonly settleMs?: number
}

/** Watches the config and every file that its modules import; after each reload, those that are imported now. */
export async function watch(
  daemon: Daemon,
  { signal, onChange, settleMs = 100 }: WatchOptions,
): Promise<void> {
  const files = (): string[] => {
    const { config, registry } = daemon.rules
    return [...(config.file === null ? [] : [config.file]), ...registry.files]
  }
  const watcher = watchFiles(files(), { ignoreInitial: true })
  let timer: NodeJS.Timeout | undefined
  watcher.on('all', () => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      onChange()
      watcher.add(files())
    }, settleMs)
  })
  signal.addEventListener('abort', () => {
    clearTimeout(timer)
    void watcher.close()
  })
  await new Promise<void>((resolve) => watcher.once('ready', resolve))
}
