/** The NOTIFY name by which nodes hear of new positions. */
export const JOURNAL_NOTIFY = 'livemessages_journal'

/** The advisory lock under which positions are given. Any number would do: the one after the migrations' own. */
export const POSITION_LOCK = '7811887443163341672'

/** A publication larger than this leaves a dead letter without its body. */
export const MAX_LETTER_BYTES = 16 * 1024 * 1024

/** So much of what is enqueued is moved in one transaction, and one publication more: everyone who publishes waits meanwhile. */
export const DRAIN_BYTES = 1024 * 1024
