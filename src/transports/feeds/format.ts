import type { ServerFrame, WelcomeFrame } from '../../protocol/frames.ts'

/** How one kind of stream puts frames into its answer. Frames that it has no form for are empty text. */
export interface Format {
  /** Whether a message looks otherwise where its id is a cursor for all of the client's channels. */
  readonly givesPlaces: boolean
  /** The answer's headers, without those that all answers have. */
  readonly headers: Readonly<Record<string, string>>
  /** What comes first of all. */
  opening(): string
  /** `secret` is made when it is asked for. */
  welcome(frame: WelcomeFrame, secret: () => string | null): string
  /**
   * @param complete who gets it is complete: a message's id is a cursor for all its channels
   * @throws {TypeError} where JSON can't carry an event's arguments
   */
  frame(frame: ServerFrame, complete: boolean): string
  close(code: number, reason: string): string
  /** What says nothing, and shows proxies and clients that somebody is there. */
  readonly keepAlive: string
}

export function welcomeJson(
  { session, user, pingMs, version }: WelcomeFrame,
  issue: () => string | null,
): string {
  const told = { session, user, ping: pingMs, version }
  const secret = issue()
  return JSON.stringify(secret === null ? told : { ...told, secret })
}
