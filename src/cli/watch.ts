import { type FSWatcher, statSync, watch } from 'node:fs'
import path from 'node:path'

export interface WatchOptions {
  /** Ends it. */
  readonly signal: AbortSignal
  /** The files that matter, as of the latest load. Those that are not there are waited for. */
  files(): ReadonlySet<string>
  /** Loads; resolves with false when that failed: then any module that changes beside them matters too. */
  onChange(): Promise<boolean>
  /** How long no further change must come. @default 100 */
  readonly settleMs?: number
}

/**
 * Watches files by their folders: an editor that replaces a file, and a checkout that removes one and brings it
 * back, take a watch on the file itself with them.
 */
export function watchFiles(options: WatchOptions): void {
  new Watch(options).begin()
}

class Watch {
  readonly #options: WatchOptions
  readonly #folders = new Map<string, { readonly watcher: FSWatcher; readonly inode: number }>()
  /** Each file as it was when it was loaded. */
  #loaded: ReadonlyMap<string, string>
  #broken = false
  /** A module that nobody has loaded so far came or changed. */
  #another = false
  #busy = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: WatchOptions) {
    this.#options = options
    this.#loaded = statesOf(options.files())
  }

  begin(): void {
    this.#sync()
    this.#options.signal.addEventListener('abort', () => {
      clearTimeout(this.#timer)
      for (const { watcher } of this.#folders.values()) watcher.close()
    })
  }

  #sync(): void {
    const needed = new Set([...this.#loaded.keys()].map(nearestFolder))
    for (const [name, { watcher, inode }] of this.#folders) {
      if (needed.has(name) && inode === inodeOf(name)) continue
      watcher.close()
      this.#folders.delete(name)
    }
    for (const name of needed) if (!this.#folders.has(name)) this.#open(name)
  }

  #open(name: string): void {
    try {
      const watcher = watch(name, (_event, changed) => {
        // Without a name, anything may have changed.
        this.#look(changed === null ? name : path.join(name, changed))
      })
      // The folder went away, and with it its files: that was told.
      watcher.on('error', () => watcher.close())
      this.#folders.set(name, { watcher, inode: inodeOf(name) })
    } catch (error) {
      process.emitWarning(`can't watch ${name}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  #look(place: string): void {
    const known = [...this.#loaded.keys()].some((file) => file === place || file.startsWith(place + path.sep))
    const another = !known && this.#broken && MODULE.test(place)
    if (another) this.#another = true
    if (known || another) this.#settle()
  }

  #settle(): void {
    const { signal, settleMs = 100 } = this.#options
    clearTimeout(this.#timer)
    if (!signal.aborted && !this.#busy) this.#timer = setTimeout(() => void this.#change(), settleMs)
  }

  async #change(): Promise<void> {
    const now = statesOf(this.#loaded.keys())
    if (!this.#another && same(now, this.#loaded)) return
    this.#another = false
    this.#busy = true
    this.#broken = !(await this.#options.onChange())
    this.#busy = false
    if (this.#options.signal.aborted) return
    const files = this.#options.files()
    this.#loaded = new Map([...files].map((file) => [file, now.get(file) ?? stateOf(file)]))
    this.#sync()
    // What changed meanwhile.
    if (this.#another || !same(statesOf(files), this.#loaded)) this.#settle()
  }
}

const MODULE = /\.([cm]?[jt]s|json)$/

function statesOf(files: Iterable<string>): Map<string, string> {
  return new Map([...files].map((file) => [file, stateOf(file)]))
}

/** What differs when a file was written or replaced. */
function stateOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false })
  return stat === undefined ? '' : `${stat.ino} ${stat.mtimeMs} ${stat.size}`
}

function same(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean {
  return one.size === other.size && [...one].every(([file, state]) => other.get(file) === state)
}

/** The folder of a file, or the nearest one above it that is there. */
function nearestFolder(file: string): string {
  const folder = path.dirname(file)
  const there = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true
  return there || folder === file ? folder : nearestFolder(folder)
}

function inodeOf(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.ino ?? 0
}
