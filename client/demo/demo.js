import { Chat } from './chat.js'
import { Connection } from './connection.js'
import { $ } from './dom.js'
import { Messages } from './messages.js'
import { showWays } from './ways.js'

/** How often the sources' state is asked for while the page is seen. */
const LOOK_AGAIN_MS = 10_000

const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:'
let about = null
let seen = ''
let session = null
let countdown = null

const connection = new Connection(`${scheme}//${location.host}/ws`, {
  onState: showState,
  onOpen: () => void look(true),
  onError: ({ message }) => ($('chat-error').textContent = message),
})
new Chat(connection)
const messages = new Messages(connection, setup)

$('again').addEventListener('click', () => connection.open())
document.addEventListener('visibilitychange', () => void look(false))
setInterval(() => void look(false), LOOK_AGAIN_MS)
connection.open()

/** What the daemon says of itself; with a user, a token too. */
async function setup(user) {
  const response = await fetch(user === null ? '/demo/setup' : `/demo/setup?user=${encodeURIComponent(user)}`)
  if (!response.ok) throw new Error(`the daemon gave no token (HTTP ${response.status}).`)
  return response.json()
}

/** Shows which of the sources are there; `anew` after each connection, for the daemon may be another one. */
async function look(anew) {
  if (session === null || (document.hidden && !anew)) return
  try {
    if (anew || about === null) about = await setup(null)
    const { parts } = await (await fetch('/readyz')).json()
    const now = JSON.stringify([about, parts])
    // Only what is new, so that what is selected there stays.
    if (now !== seen) showWays(about, new Map(parts.map(({ name, state }) => [name, state])))
    seen = now
    if (anew) messages.configured(about)
    showFacts()
  } catch (error) {
    // The daemon is away: the connection says so, and this is asked again when it is back.
    if (!(error instanceof TypeError)) throw error
  }
}

function showState({ name, again, inMs, why, session: id, user }) {
  clearInterval(countdown)
  session = name === 'connected' ? { id, user } : null
  document.querySelector('.connection').dataset.state = name
  $('again').hidden = name === 'connected' || name === 'connecting'
  $('chat-send').disabled = name !== 'connected'
  const words = {
    connecting: () => (again ? 'Reconnecting…' : 'Connecting…'),
    connected: () => 'Connected',
    refused: () => `The daemon refused: ${why}`,
    waiting: () => 'Reconnecting…',
  }
  $('state').textContent = words[name]()
  showFacts()
  if (name !== 'waiting') return
  // Beside the status and not in it: a screen reader is not to count along.
  const at = performance.now() + inMs
  const tick = () =>
    ($('facts').textContent = `next attempt in ${Math.max(1, Math.ceil((at - performance.now()) / 1000))} s`)
  tick()
  countdown = setInterval(tick, 250)
}

function showFacts() {
  $('facts').textContent = ''
  if (session === null) return
  const listener = { uws: 'uWebSockets.js', node: 'ws on node:http' }[about?.listener]
  const facts = [
    session.user === null ? 'anonymous' : `as ${session.user}`,
    `session ${session.id.slice(0, 8)}`,
  ]
  $('facts').textContent = [...facts, ...(listener === undefined ? [] : [listener])].join(' · ')
}
