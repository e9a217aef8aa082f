/** What both servers get, so that neither is held back by a limit that the other does not have. */
export const HARD_BUFFER_BYTES = 64 * 1024 * 1024

/** uWS `idleTimeout` that the daemon's defaults give (ping 25 s, pong 16 s). */
export const IDLE_SECONDS = 41

/** Who calls `messages.read`. */
export const CALLER = '42'

/** What its tokens are signed with. */
export const SECRET = 'of the bench alone, and of no daemon but its own'
