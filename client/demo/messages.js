import { $, command, element, say, timeOf } from './dom.js'
import { insertCommand } from './ways.js'

const PAGE = 25

/** One user's messages: a page of them from the table, then each new row as it is inserted. */
export class Messages {
  #connection
  #setup
  #user = null
  #channel = null
  #records = new Map()
  #start = 0
  #unread = 0
  #about = null
  #loading = false
  #arrivedMeanwhile = false

  /** `setup(user)` resolves with the daemon's answer to the demo page. */
  constructor(connection, setup) {
    this.#connection = connection
    this.#setup = setup
    for (const choice of document.getElementsByName('user')) {
      choice.checked = choice.value === ''
      choice.addEventListener('change', () => this.#choose(choice.value === '' ? null : choice.value))
    }
    $('messages-more').addEventListener('click', () => void this.#more())
  }

  /** What the daemon says of itself, at each connection. */
  configured(about) {
    const { sql } = about.ways
    for (const choice of document.getElementsByName('user')) choice.disabled = sql === null
    this.#about = about
    this.#showWay()
    if (sql === null)
      this.#note('This daemon runs without a database (postgres: false): there are no messages to keep.')
    else if (this.#user === null) this.#note('Choose a user to see their messages.')
  }

  #choose(user) {
    if (this.#channel !== null) this.#connection.unsubscribe(this.#channel)
    this.#user = user
    this.#channel = user === null ? null : `messages:${user}`
    this.#clear()
    $('messages-channel').hidden = user === null
    $('messages-channel').textContent = this.#channel ?? ''
    $('messages-error').textContent = ''
    this.#note(user === null ? 'Choose a user to see their messages.' : 'Loading…')
    this.#showWay()
    if (user !== null) {
      this.#connection.subscribe(this.#channel, {
        user: true,
        onMessage: ({ data }) => this.#arrived(data),
        onReady: () => void this.#load(user),
        onRefused: (error) => user === this.#user && this.#note(`No messages here: ${error.message}`),
      })
    }
    this.#connection.become(user, (name) => this.#token(name))
  }

  async #token(user) {
    const { token } = await this.#setup(user)
    if (token !== null) return token
    throw new Error('the tokens of this daemon are signed elsewhere, so the demo can be nobody.')
  }

  /** The table holds all of them: what came while there was no connection is there, too. */
  async #load(user) {
    if (this.#loading) return void (this.#arrivedMeanwhile = true)
    this.#loading = true
    try {
      let answers
      do {
        this.#arrivedMeanwhile = false
        answers = await Promise.all([
          this.#connection.call('messages.all', { start: 0, limit: PAGE }),
          this.#connection.call('messages.not-read-count', {}),
        ])
        // Whether they know of what arrived while they were asked, nobody can tell.
      } while (this.#arrivedMeanwhile && user === this.#user)
      if (user !== this.#user) return
      const [records, { count }] = answers
      this.#clear()
      for (const record of records) this.#records.set(record.id, record)
      this.#page(records)
      this.#count(count)
      this.#render()
    } catch (error) {
      if (user === this.#user) this.#note(`No messages here: ${error.message}`)
    } finally {
      this.#loading = false
    }
    if (user !== this.#user && this.#user !== null) await this.#load(this.#user)
  }

  async #more() {
    const user = this.#user
    try {
      const records = await this.#connection.call('messages.all', { start: this.#start, limit: PAGE })
      if (user !== this.#user) return
      for (const record of records) this.#records.set(record.id, record)
      this.#page(records)
      this.#render()
    } catch (error) {
      this.#fail(error)
    }
  }

  #page(records) {
    this.#start += records.length
    $('messages-more').hidden = records.length < PAGE
  }

  /** A new message, or what became of one, here or on another device: `{id, read}`, with `deleted` where it went. */
  #arrived(record) {
    if (typeof record !== 'object' || record === null) return
    const known = this.#records.get(record.id)
    this.#arrivedMeanwhile = true
    if (record.deleted === true) return known === undefined ? void this.#recount() : this.#gone(known)
    if (!('subject' in record)) return known === undefined ? void this.#recount() : this.#wasRead(known)
    if (known !== undefined) return
    this.#records.set(record.id, record)
    this.#start++
    if (!record.read) this.#count(this.#unread + 1)
    this.#render(record.id)
    say(`New message: ${record.subject}`)
  }

  /** Of one that is not in the list nobody here knows whether it was counted. */
  async #recount() {
    const user = this.#user
    try {
      const { count } = await this.#connection.call('messages.not-read-count', {})
      if (user === this.#user) this.#count(count)
    } catch (error) {
      if (user === this.#user) this.#fail(error)
    }
  }

  #wasRead(record) {
    if (record.read) return
    this.#records.set(record.id, { ...record, read: true })
    this.#count(this.#unread - 1)
    this.#render()
  }

  async #read(record) {
    if (record.read) return
    try {
      const { success } = await this.#connection.call('messages.read', { id: record.id })
      const known = this.#records.get(record.id)
      if (known === undefined) return
      if (success) this.#wasRead(known)
      else this.#gone(known)
    } catch (error) {
      this.#fail(error)
    }
  }

  async #delete(record) {
    try {
      await this.#connection.call('messages.delete', { id: record.id })
      const known = this.#records.get(record.id)
      if (known !== undefined) this.#gone(known)
    } catch (error) {
      this.#fail(error)
    }
  }

  #gone({ id }) {
    const record = this.#records.get(id)
    if (record === undefined) return
    const next = [...$('messages-list').children].find(({ dataset }) => Number(dataset.id) < id)
    this.#records.delete(id)
    this.#start--
    if (!record.read) this.#count(this.#unread - 1)
    this.#render()
    // The button that had the focus is gone.
    const cross = next && $('messages-list').querySelector(`[data-id="${next.dataset.id}"] .cross`)
    ;(cross ?? $('messages-scroll')).focus()
  }

  #render(newest) {
    const records = [...this.#records.values()].toSorted((a, b) => b.id - a.id)
    const focused = document.activeElement?.closest('.message')
    const wasCross = document.activeElement?.classList.contains('cross')
    $('messages-list').replaceChildren(...records.map((record) => this.#item(record, record.id === newest)))
    this.#note(records.length === 0 ? 'No messages yet. Write a row, as below, and it arrives here.' : '')
    if (!focused) return
    const again = $('messages-list').querySelector(`[data-id="${focused.dataset.id}"]`)
    ;(
      (wasCross ? null : again?.querySelector('.open:not(:disabled)')) ?? again?.querySelector('.cross')
    )?.focus()
  }

  #item(record, isNew) {
    const { subject, text, date, read } = record
    const open = element(
      'button',
      { type: 'button', className: 'open', disabled: read },
      element('span', { className: 'hidden' }, read ? '' : 'Unread, press to mark as read: '),
      element('span', { className: 'subject' }, subject || '(no subject)'),
      element(
        'span',
        { className: 'from' },
        record.from_user ?? 'somebody',
        ...(date === null ? [] : [' · ', timeOf(date)]),
      ),
      element('span', { className: 'text' }, text),
    )
    open.addEventListener('click', () => void this.#read(record))
    const label = `Delete: ${subject || 'no subject'}`
    const cross = element(
      'button',
      { type: 'button', className: 'cross', title: 'Delete', 'aria-label': label },
      '×',
    )
    cross.addEventListener('click', () => void this.#delete(record))
    const className = ['message', ...(read ? [] : ['unread']), ...(isNew ? ['new'] : [])].join(' ')
    return element('li', { className, 'data-id': String(Number(record.id)) }, open, cross)
  }

  #clear() {
    this.#records.clear()
    this.#start = 0
    this.#count(0)
    $('messages-list').replaceChildren()
    $('messages-more').hidden = true
  }

  #count(count) {
    this.#unread = Math.max(0, count)
    const text = this.#unread === 0 ? '' : `+${this.#unread}`
    $('unread').textContent = text
    $('unread').hidden = text === ''
    $('unread-said').textContent = this.#unread === 0 ? '' : `${this.#unread} unread`
    document.title = text === '' ? 'livemessages' : `(${text}) livemessages`
  }

  #showWay() {
    const way = $('messages-way')
    if (this.#about === null || this.#about.ways.sql === null || this.#user === null)
      return way.replaceChildren()
    const name = this.#user === 'ann' ? 'Ann' : 'Ben'
    way.replaceChildren(
      command(insertCommand(this.#about, this.#user), `A row for ${name}, from a terminal:`),
    )
  }

  #note(text) {
    $('messages-note').textContent = text
    $('messages-note').hidden = text === ''
  }

  #fail(error) {
    $('messages-error').textContent = `That did not work. ${error.message}`
  }
}
