const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 15_000

/** How long an answer may take; a connection that gives none is given up. */
const ANSWER_MS = 10_000

/** An `error` frame in answer to something. */
export class Refused extends Error {
  constructor({ code, message }) {
    super(message)
    this.code = code
  }
}

/**
 * One WebSocket that comes back by itself, with its subscriptions and its user.
 *
 * `onState({ name, inMs?, why?, session?, user? })`: name is `connecting`, `connected`, `waiting` (for the next
 * attempt) or `refused` (the server wants no further attempt). `onOpen` comes with each connection, after `welcome`.
 */
export class Connection {
  #url
  #handlers
  #socket = null
  #subscriptions = new Map()
  #pending = new Map()
  #lastId = 0
  #attempts = 0
  #askedMs = null
  #retry = null
  #watch = null
  #user = null
  #tokenOf = null

  constructor(url, handlers) {
    this.#url = url
    this.#handlers = handlers
    addEventListener('online', () => this.#retry !== null && this.open())
  }

  /** Connects, or makes the next attempt now. */
  open() {
    clearTimeout(this.#retry)
    this.#retry = null
    if (this.#socket !== null) return
    this.#handlers.onState({ name: 'connecting', again: this.#attempts > 0 })
    const socket = new WebSocket(this.#url, 'livemessage.v1')
    this.#socket = socket
    socket.onmessage = ({ data }) => this.#socket === socket && this.#take(JSON.parse(data))
    socket.onclose = ({ code, reason }) => this.#socket === socket && this.#ended(code, reason)
  }

  /**
   * Becomes a user: `tokenOf` is asked for a token at each connection. Null is nobody. A connection belongs to one
   * user only, so that another one needs a new connection.
   */
  become(user, tokenOf) {
    const before = this.#user
    this.#user = user
    this.#tokenOf = tokenOf
    // Where there is no connection yet, the welcome of the next one goes on from here.
    if (!this.#socket?.welcomed) return this.open()
    if (before === null && user !== null) void this.#authenticate(this.#socket)
    else this.#again()
  }

  /**
   * Keeps a channel subscribed: `onMessage(message)`, oldest first; `onGap()` when something may be missing
   * before what comes next; `onReady()` and `onRefused(error)` at each connection. `last` is how many of the newest
   * are wanted at first; `user`: only once authenticated.
   */
  subscribe(channel, options) {
    const subscription = { channel, cursor: null, asked: null, ...options }
    this.#subscriptions.set(channel, subscription)
    if (!options.user && this.#socket?.welcomed) this.#ask(subscription)
  }

  unsubscribe(channel) {
    if (this.#subscriptions.delete(channel) && this.#socket?.welcomed)
      this.#send({ type: 'unsubscribe', channel })
  }

  /** Calls an action. Rejects with {@link Refused}, or when the connection ends before the answer. */
  call(action, data) {
    return this.#request({ type: 'call', action, data }).then((frame) => frame.data)
  }

  #send(frame) {
    this.#socket.send(JSON.stringify(frame))
  }

  #request(frame) {
    if (!this.#socket?.welcomed) return Promise.reject(new Error('There is no connection at the moment.'))
    const id = ++this.#lastId
    this.#send({ ...frame, id })
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(new Error('The server has not answered.'))
      }, ANSWER_MS)
      this.#pending.set(id, { resolve, reject, timer })
    })
  }

  #take(frame) {
    this.#alive(frame)
    switch (frame.type) {
      case 'welcome':
        return this.#welcome(frame)
      case 'subscribed':
        return this.#subscribed(frame)
      case 'message': {
        const subscription = this.#subscriptions.get(frame.channel)
        if (subscription === undefined) return
        subscription.cursor = frame.id ?? subscription.cursor
        return subscription.onMessage(frame)
      }
      case 'cursor':
        for (const subscription of this.#subscriptions.values()) {
          if (subscription.cursor !== null) subscription.cursor = frame.cursor
        }
        return
      case 'unsubscribed':
        return this.#subscriptions.get(frame.channel)?.onRefused?.(new Refused(frame))
      case 'reply':
      case 'error':
        return this.#answer(frame)
      case 'reconnect':
        this.#askedMs = frame.after
    }
  }

  #welcome({ session, user, ping }) {
    const socket = this.#socket
    socket.welcomed = true
    socket.session = session
    socket.pingMs = ping
    this.#attempts = 0
    this.#handlers.onState({ name: 'connected', session, user })
    for (const subscription of this.#subscriptions.values()) if (!subscription.user) this.#ask(subscription)
    this.#handlers.onOpen()
    if (this.#user !== null) void this.#authenticate(socket)
  }

  async #authenticate(socket) {
    const user = this.#user
    try {
      const token = await this.#tokenOf(user)
      if (socket !== this.#socket || user !== this.#user) return
      const { data } = await this.#request({ type: 'authenticate', token })
      this.#handlers.onState({ name: 'connected', session: socket.session, user: data.user })
      for (const subscription of this.#subscriptions.values()) if (subscription.user) this.#ask(subscription)
    } catch (error) {
      // Of a connection that is gone the next one tells.
      if (socket !== this.#socket || user !== this.#user) return
      for (const subscription of this.#subscriptions.values())
        if (subscription.user) subscription.onRefused(error)
    }
  }

  /** What came last is told; without that the newest are wanted. */
  #ask(subscription) {
    const { channel, cursor, last } = subscription
    subscription.asked = cursor === null ? 'last' : 'since'
    const range = cursor === null ? (last === undefined ? {} : { last }) : { since: cursor }
    this.#request({ type: 'subscribe', channel, ...range }).catch((error) => {
      if (this.#subscriptions.get(channel) === subscription && error instanceof Refused)
        subscription.onRefused(error)
    })
  }

  #subscribed(frame) {
    this.#settle(frame.id)?.resolve(frame)
    const subscription = this.#subscriptions.get(frame.channel)
    if (subscription === undefined) return
    if (subscription.asked === 'since' && !frame.recovered) {
      // What was missed can't be had: the newest are, and that there is a gap is shown.
      subscription.onGap?.()
      subscription.cursor = null
      return this.#ask(subscription)
    }
    subscription.cursor = frame.cursor
    for (const message of frame.messages) subscription.onMessage(message)
    subscription.onReady?.()
  }

  #answer(frame) {
    const asked = this.#settle(frame.id)
    if (frame.type === 'reply') asked?.resolve(frame)
    else if (asked !== undefined) asked.reject(new Refused(frame))
    else this.#handlers.onError?.(new Refused(frame))
  }

  #settle(id) {
    const asked = this.#pending.get(id)
    this.#pending.delete(id)
    clearTimeout(asked?.timer)
    return asked
  }

  /** A network may end without a word: what is silent for too long is asked, and left when it does not answer. */
  #alive() {
    clearTimeout(this.#watch)
    const socket = this.#socket
    this.#watch = setTimeout(() => {
      if (socket.readyState !== WebSocket.OPEN) return
      this.#send({ type: 'ping' })
      this.#watch = setTimeout(() => this.#socket === socket && this.#again(), ANSWER_MS)
    }, socket.pingMs ?? 25_000)
  }

  /** A new connection in place of this one. */
  #again() {
    const socket = this.#socket
    this.#socket = null
    socket?.close()
    this.#drop()
    this.open()
  }

  #drop() {
    clearTimeout(this.#watch)
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(new Error('The connection was lost before the answer came.'))
    }
    this.#pending.clear()
  }

  #ended(code, reason) {
    this.#socket = null
    this.#drop()
    if (code === 1009 || (code >= 4400 && code <= 4449)) {
      return this.#handlers.onState({ name: 'refused', why: `${code} ${reason}`.trim() })
    }
    const longest = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#attempts)
    // Half of it by chance: many clients that lost one server don't come back in one moment.
    const inMs = this.#askedMs ?? longest / 2 + (Math.random() * longest) / 2
    this.#askedMs = null
    this.#attempts++
    this.#handlers.onState({ name: 'waiting', inMs })
    this.#retry = setTimeout(() => this.open(), inMs)
  }
}
