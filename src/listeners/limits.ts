/** What all of a request's headers may take: pages have cookies of more than uWS's own 4 KiB. Beyond it is 431. */
export const MAX_HEADER_BYTES = 16 * 1024

/** The defaults of `ListenerOptions`. */
export const BODY_MS = 30_000
export const STALL_MS = 10_000
