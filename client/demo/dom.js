/** The element of this id. */
export const $ = (id) => document.getElementById(id)

/** Makes an element; strings among the children become text, never markup. */
export function element(tag, { className, ...properties } = {}, ...children) {
  const made = document.createElement(tag)
  if (className !== undefined) made.className = className
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('aria-') || name.startsWith('data-') || name === 'role')
      made.setAttribute(name, value)
    else made[name] = value
  }
  made.append(...children)
  return made
}

/** A time as `<time>`: today the hour, before that the day too. */
export function timeOf(ms) {
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) return ''
  const today = date.toDateString() === new Date().toDateString()
  const text = date.toLocaleString(undefined, {
    ...(today ? {} : { day: 'numeric', month: 'short' }),
    hour: '2-digit',
    minute: '2-digit',
  })
  return element('time', { dateTime: date.toISOString(), title: date.toLocaleString() }, text)
}

/** A command to paste, under a sentence about it, with a button that copies it. */
export function command(text, about) {
  const button = element('button', { type: 'button', className: 'copy' }, 'Copy')
  button.setAttribute('aria-label', `Copy the command. ${about}`)
  button.addEventListener('click', () => copy(text, button))
  return element(
    'div',
    { className: 'command' },
    element('p', {}, about),
    button,
    element(
      'pre',
      { tabIndex: 0, role: 'group', 'aria-label': about },
      element('code', {}, ...wordsOf(text)),
    ),
  )
}

/** Words that a line's end divides only where they are longer than a line: not `--amqp` behind its dashes. */
function wordsOf(text) {
  return text.split(/( )/).map((word) => (word === ' ' ? word : element('span', {}, word)))
}

/** Tells a screen reader what is only to be seen. */
export function say(text) {
  $('said').textContent = text
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text)
    show(button, 'Copied')
  } catch {
    // Refused, or no secure context: selected, it is one key away.
    const code = button.parentElement.querySelector('code')
    getSelection().selectAllChildren(code)
    show(button, 'Press Ctrl+C')
  }
}

function show(button, text) {
  button.textContent = text
  say(text)
  clearTimeout(button.timer)
  button.timer = setTimeout(() => (button.textContent = 'Copy'), 2000)
}
