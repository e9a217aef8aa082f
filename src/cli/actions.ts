import path from 'node:path'
import type { Command } from 'commander'
import { loadVersion } from './load-version.ts'
import { type ConfigFlags, print, withConfig } from './options.ts'
import { table } from './table.ts'

interface ActionsFlags extends ConfigFlags {
  readonly json?: boolean
}

export function define(command: Command): void {
  withConfig(command)
    .option('--json', 'as JSON, with absolute paths')
    .action(async ({ json, ...flags }: ActionsFlags) => {
      const { modules } = (await loadVersion(flags)).registry
      if (json === true) return print(JSON.stringify(modules, null, 2))
      const rows = modules.map(({ subsystem, key, kind, path: file }) => [
        subsystem,
        kind === 'action' ? `${subsystem}.${key}` : key,
        kind,
        shorten(file),
      ])
      print(table(['SUBSYSTEM', 'NAME', 'KIND', 'PATH'], rows))
    })
    .addHelpText(
      'after',
      `
Example:
  livemessage actions --json | jq -r '.[] | select(.kind == "action") | .path'
`,
    )
}

/** As it is shortest to read: from here, where it lies below. */
function shorten(file: string): string {
  const relative = path.relative(process.cwd(), file)
  return path.isAbsolute(file) && !relative.startsWith('..') ? relative : file
}
