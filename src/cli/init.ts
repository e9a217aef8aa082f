import { mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { LivemessageError, messageOf } from '../errors.ts'
import { print } from './options.ts'
import { TEMPLATES } from './templates.ts'

export function define(command: Command): void {
  command
    .action(async () => init(process.cwd()))
    .addHelpText(
      'after',
      `
Writes ${Object.keys(TEMPLATES).join(', ')}
into this folder; what is there stays as it is.
`,
    )
}

async function init(folder: string): Promise<void> {
  const config = (await readdir(folder)).find((name) => /^livemessages\.config\.(ts|js|mjs|json)$/.test(name))
  const taken: string[] = []
  for (const [name, text] of Object.entries(TEMPLATES)) {
    // Another config beside the one that is there would come before it, or never be read.
    if (name.startsWith('livemessages.config.') && config !== undefined) taken.push(config)
    else if (await write(path.join(folder, name), text)) print(`wrote ${name}`)
    else taken.push(name)
  }
  for (const name of taken) print(`kept  ${name}, which was there`)
  if (taken.length === Object.keys(TEMPLATES).length) {
    throw new LivemessageError('FILE_EXISTS', `nothing to write: ${taken.join(', ')} are there already`)
  }
  print(NEXT)
}

/** False where there is such a file. */
async function write(file: string, text: string): Promise<boolean> {
  try {
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, text, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new LivemessageError('USAGE', `can't write ${file}: ${messageOf(error)}`, { cause: error })
  }
}

const NEXT = `
Next:
  npx livemessage start --dev                    the daemon, with its demo page
  npx livemessage listen chat:general            in another terminal
  npx livemessage publish chat:general '{"name":"me","text":"hello"}'`
