import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Place } from './place.ts'
import { codeOf, isAlive, serverEnvironment } from './process.ts'

/*
 * The server ends with the last daemon that uses it, however that ends. Each daemon keeps the FIFO
 * `holders.<pid of the server>` open for writing; a shell beside the server reads it and comes to its end when
 * the kernel has closed the last writer, `kill -9` included. It then ends the server, unless the server is
 * gone, or unless a daemon that found the FIFO removed has made another: that one has a shell of its own.
 */
const SCRIPT = `
umask 077
cd "$1" || exit
pid=$2; shift 2
[ "$pid" = self ] && { pid=$$; rm -f "holders.$pid"; }
fifo=holders.$pid
[ -p "$fifo" ] || mkfifo "$fifo" || [ -p "$fifo" ] || exit
exec 5<&0 </dev/null
( (
  trap '' HUP INT TERM
  exec 4<>"$fifo" 3<"$fifo" # reading alone would wait for a writer, which a killed daemon never becomes
  read -r line <&5             # until the daemon holds the FIFO, or is gone
  exec 4>&- 5<&-
  while read -r line <&3; do :; done
  rm -f "$fifo"
  while read -r line <&3; do :; done # who opened it just before
  [ -p "$fifo" ] && exit
  read -r first <data/postmaster.pid && [ "$first" = "$pid" ] && kill -INT "$pid"
) >/dev/null 2>&1 & )
# Node closes the input of a child that ends, which the keeper would take for the daemon's end.
[ $# = 0 ] && { read -r line <&5; exit; }
exec 5<&-
exec "$@" >>log 2>&1
`

/** This daemon's hold on a server. */
export interface Hold {
  /** True when nobody else holds it: the server is about to end. Idempotent. */
  release(): boolean
}

/** A server just started, and what its process came to. */
export interface Launched {
  readonly pid: number
  readonly hold: Hold
  readonly child: ChildProcess
}

/** How a server that did not come up ended. */
export interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Starts the server and takes hold of it. It is not ready yet. */
export async function launch(place: Place, command: readonly string[]): Promise<Launched | Ended> {
  const child = keeper(place, 'self', command)
  let output = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output += text))
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
  const { pid } = child
  if (pid === undefined) return ended
  const hold = await holdWhile(place, pid, () => child.exitCode === null && child.signalCode === null)
  child.stdin?.end()
  return hold === null ? ended : { pid, hold, child }
}

/** Takes hold of a server that runs already. Null when it has ended. */
export async function hold(place: Place, pid: number): Promise<Hold | null> {
  const held = tryHold(place, pid)
  if (held !== null) return held
  const child = keeper(place, String(pid), []) // nobody watches over it: its daemon and its shell were killed
  child.on('error', () => child.stdin?.destroy()) // holdWhile ends with the server, or at its deadline
  const adopted = await holdWhile(place, pid, () => isAlive(pid))
  child.stdin?.end()
  return adopted
}

function keeper(place: Place, pid: string, command: readonly string[]): ChildProcess {
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'livemessages', place.home, pid, ...command], {
    ...place.user,
    cwd: '/', // the daemon's own folder may be closed to that user
    env: serverEnvironment(),
    stdio: ['pipe', 'ignore', 'pipe'],
    detached: true, // Ctrl-C in the terminal is for the daemon, which stops in its order
  })
  child.unref()
  child.stdin?.on('error', () => child.stdin?.destroy()) // the shell has ended; its end is handled above
  return child
}

async function holdWhile(place: Place, pid: number, going: () => boolean): Promise<Hold | null> {
  const deadline = performance.now() + 5_000
  while (going() && performance.now() < deadline) {
    const held = tryHold(place, pid)
    if (held !== null) return held
    await delay(1)
  }
  return null
}

function tryHold(place: Place, pid: number): Hold | null {
  const fifo = path.join(place.home, `holders.${pid}`)
  let file: number | null = open(fifo, constants.O_WRONLY)
  if (file === null) return null
  return {
    release() {
      if (file === null) return false
      closeSync(file)
      file = null
      return !hasWriters(fifo)
    },
  }
}

/** Reading from a FIFO that is open for writing somewhere would wait; from another it ends. */
function hasWriters(fifo: string): boolean {
  const file = open(fifo, constants.O_RDONLY)
  if (file === null) return false
  try {
    return readSync(file, Buffer.alloc(1)) > 0
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return true
    throw error
  } finally {
    closeSync(file)
  }
}

/** Null when there is none, or when nobody reads it. */
function open(fifo: string, mode: number): number | null {
  try {
    return openSync(fifo, mode | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENXIO') return null
    throw error
  }
}
