import type { Problem } from '../errors.ts'
import { keyOf } from './problems.ts'
import type { Parsed } from './schema.ts'

type Later = (parsed: Parsed) => readonly (readonly [path: readonly string[], message: string] | false)[]

/** What the schema knows and this version does not have: one entry each, to be taken out when it comes. */
const LATER: readonly Later[] = [
  perChannel('presence', ({ presence }) => presence === true, 'true comes with a later version'),
]

/** The problems of a config that asks for what comes with a later version. */
export function laterProblems(parsed: Parsed): Problem[] {
  return LATER.flatMap((later) => later(parsed))
    .filter((found) => found !== false)
    .map(([path, message]) => ({ code: 'CONFIG_INVALID', key: keyOf(path), message }))
}

type Channel = NonNullable<Parsed['channels']>[string]

function perChannel(key: keyof Channel, asked: (channel: Channel) => boolean, message: string): Later {
  return ({ channels = {} }) =>
    Object.entries(channels).map(([name, channel]) => asked(channel) && [['channels', name, key], message])
}
