import { $, element, timeOf } from './dom.js'

const CHANNEL = 'chat:general'

/** Lines that the page keeps. */
const MAX_LINES = 300

/** Nearer to the end than this, in pixels, the reader follows. */
const NEAR_END = 60

/** The chat: the last 50, then whatever comes; what one says goes through the action `chat.say`. */
export class Chat {
  #connection
  #shown = new Set()
  /** Whether the reader is at the end, and stays there when something comes. */
  #follows = true

  constructor(connection) {
    this.#connection = connection
    $('chat-name').value = nameOfTab()
    $('chat-name').addEventListener('change', () => sessionStorage.setItem('name', $('chat-name').value))
    $('chat-form').addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#say()
    })
    $('chat-latest').addEventListener('click', () => this.#toEnd())
    $('chat-scroll').addEventListener('scroll', () => {
      this.#follows = isAtEnd()
      if (this.#follows) $('chat-latest').hidden = true
    })
    new ResizeObserver(() => this.#follows && this.#toEnd()).observe($('chat-scroll'))
    connection.subscribe(CHANNEL, {
      last: 50,
      onMessage: (message) => this.#show(message),
      onGap: () =>
        this.#mark('Something may be missing here: the daemon could not tell what came meanwhile.'),
      onRefused: ({ message }) => {
        $('chat-empty').textContent = `There is no chat here: ${message}.`
      },
    })
  }

  async #say() {
    const text = $('chat-text')
    const said = text.value
    $('chat-error').textContent = ''
    if (said.trim() === '') return
    try {
      await this.#connection.call('chat.say', { room: 'general', name: $('chat-name').value, text: said })
      // What was typed meanwhile stays.
      if (text.value === said) text.value = ''
      this.#toEnd()
    } catch (error) {
      $('chat-error').textContent = `Not sent. ${error.message}`
    }
  }

  #show({ id, data, time }) {
    if (this.#shown.has(id)) return
    // On a transient channel messages have no id, and come once.
    if (id !== undefined) this.#shown.add(id)
    const { name, text } = lineOf(data)
    const line = element(
      'li',
      { className: 'line' },
      element('span', { className: `face hue-${hueOf(name)}`, 'aria-hidden': 'true' }, initialOf(name)),
      element(
        'div',
        {},
        element('p', { className: 'who' }, element('b', {}, name), ' ', timeOf(time)),
        element('p', { className: 'what' }, text),
      ),
    )
    this.#add(line, id)
  }

  #mark(text) {
    this.#add(element('li', { className: 'gap' }, text))
  }

  #add(line, id) {
    const lines = $('chat-lines')
    line.cursor = id
    lines.append(line)
    while (lines.childElementCount > MAX_LINES) {
      this.#shown.delete(lines.firstElementChild.cursor)
      lines.firstElementChild.remove()
    }
    $('chat-empty').hidden = true
    if (this.#follows) this.#toEnd()
    else $('chat-latest').hidden = false
  }

  #toEnd() {
    $('chat-scroll').scrollTop = $('chat-scroll').scrollHeight
    $('chat-latest').hidden = true
  }
}

/** Anybody may publish anything here: what is no chat message is shown as the JSON that it is. */
function lineOf(data) {
  if (typeof data === 'object' && data !== null && typeof data.text === 'string') {
    const named = typeof data.name === 'string' && data.name !== ''
    return { name: named ? data.name : 'somebody', text: data.text }
  }
  return { name: 'somebody', text: typeof data === 'string' ? data : JSON.stringify(data) }
}

function isAtEnd() {
  const { scrollTop, scrollHeight, clientHeight } = $('chat-scroll')
  return scrollHeight - scrollTop - clientHeight < NEAR_END
}

/** Each tab is somebody else. */
function nameOfTab() {
  const known = sessionStorage.getItem('name')
  if (known) return known
  const name = `Guest ${Math.floor(Math.random() * 900) + 100}`
  sessionStorage.setItem('name', name)
  return name
}

function initialOf(name) {
  return [...name.trim()][0]?.toUpperCase() ?? '?'
}

function hueOf(name) {
  let sum = 0
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % 6007
  return sum % 6
}
