import { type Command, InvalidArgumentError } from 'commander'
import { isPattern } from '../auth/access.ts'
import { signToken } from '../auth/sign.ts'
import { parseDuration } from '../config/units.ts'
import { LivemessageError } from '../errors.ts'
import { type ConfigFlags, load, print, withConfig } from './options.ts'

interface TokenFlags extends ConfigFlags {
  readonly ttl: string
  readonly id?: string
  readonly database?: string
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
}

export function define(command: Command): void {
  withConfig(command)
    .argument('<user>', 'the user that the token is for')
    .option('--ttl <duration>', 'how long it lasts', '12h')
    .option('--subscribe <patterns>', 'channels that it opens, with commas: chat:*,news:today', patterns)
    .option('--publish <patterns>', 'channels to which it may publish', patterns)
    .option('--id <jti>', "the token's own id, by which it can be revoked alone")
    .option('--database <name>', 'whose user it is, where there are several (default: the home one)')
    .action(async (user: string, { ttl, id, database, subscribe, publish, ...flags }: TokenFlags) => {
      const lifetimeMs = parseDuration(ttl)
      if (lifetimeMs === null || lifetimeMs < 1000) {
        throw new LivemessageError('USAGE', `--ttl: expected a duration from 1s, such as '12h', got '${ttl}'`)
      }
      const { config } = await load(flags)
      const token = signToken(user, config.auth.jwt, {
        lifetimeS: Math.floor(lifetimeMs / 1000),
        ...(id === undefined ? {} : { id }),
        ...(database === undefined ? {} : { database }),
        ...(subscribe === undefined ? {} : { subscribe }),
        ...(publish === undefined ? {} : { publish }),
      })
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
  livemessage token ann --subscribe 'chat:*' --publish chat:lobby --ttl 10m
  livemessage listen messages:ann --token "$(livemessage token ann)"
`,
    )
}

function patterns(text: string): string[] {
  const list = text.split(',').map((one) => one.trim())
  if (list.every(isPattern)) return list
  throw new InvalidArgumentError('Expected patterns such as chat:general, chat:* or *, with commas.')
}
