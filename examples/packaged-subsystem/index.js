/** The subsystem, for ACTIONS: `{ notes }`, or under any other name. */
export const notes = {
  add: 'livemessages-notes/add',
  list: 'livemessages-notes/list',
  forget: 'livemessages-notes/forget',
  sender: 'livemessages-notes/sender',
}

/** What its channels need, for `channels`: `<name>:<user>`, for that user alone. */
export const policy = { access: 'user', history: { count: 100, maxAge: '7d' } }
