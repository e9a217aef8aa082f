/** What both servers get, so that neither is held back by a limit that the other does not have. */
export const HARD_BUFFER_BYTES = 64 * 1024 * 1024

/** uWS `idleTimeout` that the daemon's defaults give (ping 25 s, pong 16 s). */
export const IDLE_SECONDS = 41
