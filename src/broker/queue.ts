import type { Channel } from './connection.ts'

/** @throws with the way out, where the queue exists with other arguments */
export async function declareQueue(
  channel: Channel,
  queue: string,
  args: Readonly<Record<string, unknown>>,
): Promise<void> {
  try {
    await channel.assertQueue(queue, { durable: true, arguments: args })
  } catch (error) {
    if (!isPreconditionFailed(error)) throw error
    const wanted = Object.entries(args).map(([name, value]) => `${name}=${String(value)}`)
    throw new Error(
      `queue ${queue} exists with other arguments than ours (durable, ${wanted.join(', ')}): ` +
        `empty and delete it, or name another one; the broker says: ${error.message}`,
      { cause: error },
    )
  }
}

export function isNotFound(error: unknown): boolean {
  return hasCode(error, 404)
}

/** What is declared exists already, and otherwise. */
export function isPreconditionFailed(error: unknown): error is Error {
  return hasCode(error, 406)
}

function hasCode(error: unknown, code: number): error is Error {
  return error instanceof Error && 'code' in error && error.code === code
}
