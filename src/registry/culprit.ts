import type { LoadedModule } from './registry.ts'

/**
 * The module nearest to where an error was made, by the files in its stack: what a timer or a promise that nobody awaits
 * throws has left its run long ago. Null where none is in it.
 */
export function culpritOf(error: unknown, modules: readonly LoadedModule[]): LoadedModule | null {
  const stack = error instanceof Error ? error.stack : undefined
  if (typeof stack !== 'string') return null
  for (const line of stack.split('\n').filter((one) => /^\s+at /.test(one))) {
    const found = modules.find(({ path }) => path.startsWith('/') && names(line, path))
    if (found !== undefined) return found
  }
  return null
}

/** `at f (/app/say.ts:3:1)`, `at file:///app/say.ts?2:3:1`: the path, and a line or a version after it. */
function names(line: string, path: string): boolean {
  return [path, encodeURI(path)].some((name) => line.includes(`${name}:`) || line.includes(`${name}?`))
}
