import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Command } from 'commander'
import { LivemessageError } from '../errors.ts'
import { print } from './options.ts'
import { TEMPLATES } from './templates.ts'

export function initCommand(): Command {
  return new Command('init')
    .description('write a config and one action module to start from; nothing is overwritten')
    .action(async () => {
      const cwd = process.cwd()
      const taken: string[] = []
      for (const [name, text] of Object.entries(TEMPLATES)) {
        const file = path.join(cwd, name)
        await mkdir(path.dirname(file), { recursive: true })
        try {
          await writeFile(file, text, { flag: 'wx' })
          print(`wrote ${name}`)
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
          taken.push(name)
        }
      }
      for (const name of taken) print(`kept  ${name}: it was there already`)
      if (taken.length === Object.keys(TEMPLATES).length) {
        throw new LivemessageError(
          'FILE_EXISTS',
          `everything that init writes is there already: ${taken.join(', ')}`,
        )
      }
      print(NEXT)
    })
}

const NEXT = `
Next:
  npx livemessage start --dev
  npx livemessage listen chat:general            (in another terminal)
  npx livemessage publish chat:general '{"name":"me","text":"hello"}'
`
