/** Of the terminal; empty where NO_COLOR asks for none (https://no-color.org). */
const plain = (process.env['NO_COLOR'] ?? '') !== ''

export const BOLD = plain ? '' : '\u001b[1m'
export const DIM = plain ? '' : '\u001b[2m'
export const RED = plain ? '' : '\u001b[31m'
export const GREEN = plain ? '' : '\u001b[32m'
export const YELLOW = plain ? '' : '\u001b[33m'
export const RESET = plain ? '' : '\u001b[0m'
