/**
 * Every error that the daemon raises, by its stable code. The text of a message may change, a code does not.
 * docs/errors.md explains each; a test holds the two against each other.
 */
export const ERRORS = {
  // configuration and usage: exit code 2
  CONFIG_NOT_FOUND: 2,
  CONFIG_UNREADABLE: 2,
  CONFIG_INVALID: 2,
  INI_UNREADABLE: 2,
  ACTION_NOT_FOUND: 2,
  ACTION_NOT_A_FILE: 2,
  ACTION_NO_EXPORT: 2,
  ACTION_WRONG_SHAPE: 2,
  ACTION_THREW: 2,
  USAGE: 2,
  FILE_EXISTS: 2,
  DAEMON_REFUSED: 2,
  LETTER_NOT_FOUND: 2,
  SEVERAL_NODES: 2,
  // something that the daemon needs can't be had: exit code 3
  PORT_TAKEN: 3,
  ADDRESS_UNAVAILABLE: 3,
  DATABASE_UNREACHABLE: 3,
  DATABASE_BUSY: 3,
  DATABASE_OTHER_MAJOR: 3,
  DATABASE_NOT_INSTALLED: 3,
  DATABASE_INCOMPATIBLE: 3,
  DATABASE_FAILED: 3,
  BROKER_UNREACHABLE: 3,
  DAEMON_UNREACHABLE: 3,
  LISTENER_UNAVAILABLE: 3,
  // everything else: exit code 1
  STOPPED: 1,
  PUBLISH_REFUSED: 1,
  WEBHOOK_REFUSED: 1,
  LETTERS_LEFT: 1,
  INTERNAL: 1,
} as const

export type ErrorName = keyof typeof ERRORS

/** An error with a stable code. `exitCode` is what the command ends with when nobody handles it. */
export class LivemessageError extends Error {
  readonly code: ErrorName

  constructor(code: ErrorName, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LivemessageError'
    this.code = code
  }

  get exitCode(): number {
    return ERRORS[this.code]
  }
}

/** One thing that is wrong with a config or a module: where, and what to do. */
export interface Problem {
  readonly code: ErrorName
  /** The key, e.g. `channels.chat.history.maxAge` or `ACTIONS.messages.read`. */
  readonly key: string
  /** What was expected and what came. */
  readonly message: string
}

/** All problems of a config at once. */
export class ConfigError extends LivemessageError {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[], where: string | null) {
    const list = problems.map((problem) => `  ${problem.key}: ${problem.message}`).join('\n')
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`
    super(problems[0]?.code ?? 'CONFIG_INVALID', `${count} in ${where ?? 'the configuration'}:\n${list}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}
