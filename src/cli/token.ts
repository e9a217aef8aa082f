import type { Command } from 'commander'
import { signToken } from '../auth/sign.ts'
import { parseDuration } from '../config/units.ts'
import { LivemessageError } from '../errors.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'

interface TokenFlags extends ConfigFlags {
  readonly ttl: string
}

export function define(command: Command): void {
  withConfig(command)
    .argument('<user>', 'the user that the token is for')
    .option('--ttl <duration>', 'how long it lasts', '12h')
    .action(async (user: string, { ttl, ...flags }: TokenFlags) => {
      const lifetimeMs = parseDuration(ttl)
      if (lifetimeMs === null || lifetimeMs < 1000) {
        throw new LivemessageError('USAGE', `--ttl: expected a duration from 1s, such as '12h', got '${ttl}'`)
      }
      const { config } = await load(flags)
      const token = signToken(user, config.auth.jwt, Math.floor(lifetimeMs / 1000))
      if (token === null) {
        throw new LivemessageError(
          'USAGE',
          'the config has no auth.jwt.secret for HS256: tokens come from whoever has the key',
        )
      }
      print(token)
    })
    .addHelpText(
      'after',
      `
Examples:
  livemessage token ann
  livemessage listen messages:ann --token "$(livemessage token ann)"
`,
    )
}
