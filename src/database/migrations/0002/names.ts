/** The NOTIFY name by which nodes hear of new positions. */
export const JOURNAL_NOTIFY = 'livemessages_journal'

/** The advisory lock under which positions are given. Any number would do: the one after the migrations' own. */
export const POSITION_LOCK = '7811887443163341672'
