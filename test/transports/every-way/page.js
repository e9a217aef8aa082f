// What a page needs for each transport, with nothing of ours in it: the browser's own means, and Socket.IO's client.
const query = new URLSearchParams(location.search)
const daemon = query.get('daemon')
const channel = query.get('channel')
const RETRY_MS = 300

/** One transport: what came by it, its cursor, and what it complains of. */
function column(name) {
  const section = document.createElement('section')
  const title = document.createElement('h2')
  const list = document.createElement('ol')
  const note = document.createElement('p')
  title.textContent = name
  section.dataset.way = name
  section.append(title, list, note)
  document.querySelector('main').append(section)
  const own = {
    since: null,
    connects: 0,
    message({ id, data }) {
      if (id !== undefined) own.since = id
      const item = document.createElement('li')
      item.textContent = data.text
      list.append(item)
    },
    opened() {
      own.connects++
      section.dataset.connects = String(own.connects)
      note.textContent = own.connects === 1 ? 'connected' : `connected ${own.connects} times`
    },
    refused(why) {
      section.dataset.refused = why
      note.textContent = `refused: ${why}`
    },
    query(more = {}) {
      const said = new URLSearchParams({ channel, ...more })
      if (own.since !== null) said.set('since', own.since)
      return said
    },
  }
  return own
}

function openWebSocket(own = column('WebSocket')) {
  const socket = new WebSocket(`${daemon.replace('http', 'ws')}/ws?${own.query()}`)
  let welcomed = false
  socket.addEventListener('message', ({ data }) => {
    const frame = JSON.parse(data)
    if (frame.type === 'welcome') welcomed = true
    if (frame.type === 'subscribed') {
      own.opened()
      if (own.since !== null && !frame.recovered) own.refused('not recovered')
      frame.messages.forEach(own.message)
      own.since ??= frame.cursor
    }
    if (frame.type === 'message') own.message(frame)
    if (frame.type === 'cursor') own.since = frame.cursor
  })
  socket.addEventListener('close', ({ code }) => {
    if (!welcomed && own.connects === 0) return own.refused(String(code))
    if (code !== 1009 && !(code >= 4400 && code < 4450)) setTimeout(openWebSocket, RETRY_MS, own)
  })
}

function openEventSource() {
  const own = column('EventSource')
  const source = new EventSource(`${daemon}/sse?${own.query()}`)
  source.addEventListener('welcome', () => own.opened())
  source.addEventListener('message', ({ data }) => own.message(JSON.parse(data)))
  source.addEventListener('lost', () => own.refused('lost'))
  source.addEventListener('close', ({ data }) => {
    const { code } = JSON.parse(data)
    if (code >= 4400 && code < 4450) source.close()
  })
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) own.refused('gave up')
  })
}

async function openPolling() {
  const own = column('long-polling')
  for (;;) {
    try {
      const response = await fetch(`${daemon}/poll?${own.query({ wait: 20 })}`)
      const answer = await response.json()
      if (response.ok) {
        own.opened()
        if (answer.lost.length > 0) own.refused('lost')
        answer.messages.forEach(own.message)
        own.since = answer.cursor
      } else await passed()
    } catch (error) {
      if (own.connects === 0) return own.refused(String(error))
      await passed()
    }
  }
}

async function openStream() {
  const own = column('fetch, NDJSON')
  for (;;) {
    try {
      const response = await fetch(`${daemon}/stream?${own.query()}`)
      own.opened()
      let rest = ''
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const lines = (rest + part.value).split('\n')
        rest = lines.pop()
        for (const line of lines.filter((text) => text !== '')) {
          const object = JSON.parse(line)
          if (object.type === undefined) own.message(object)
          else if (object.type === 'cursor') own.since = object.cursor
          else if (object.type === 'lost') own.refused('lost')
        }
      }
    } catch (error) {
      if (own.connects === 0) return own.refused(String(error))
    }
    await passed()
  }
}

function openIframe() {
  const own = column('iframe')
  const frame = document.createElement('iframe')
  const open = () => {
    // Of the page's own origin, where a proxy has the daemon's streams: it could not call us otherwise.
    frame.src = `/stream?${own.query({ format: 'html', callback: 'parent.handle' })}`
  }
  window.handle = (object) => {
    if (object.type === undefined) {
      if (own.connects === 0) own.opened()
      own.message(object)
    } else if (object.type === 'lost') own.refused('lost')
  }
  // The answer has ended, or never began.
  frame.addEventListener('load', () => setTimeout(open, RETRY_MS))
  open()
  document.body.append(frame)
}

function openSocketIo(transport) {
  const own = column(`Socket.IO, ${transport}`)
  const socket = io(`${daemon}/chat`, {
    transports: [transport],
    forceNew: true,
    reconnectionDelay: RETRY_MS,
    reconnectionDelayMax: RETRY_MS,
    auth: (give) => give({ channels: [channel], ...(own.since === null ? {} : { since: own.since }) }),
  })
  socket.on('subscribed', ({ recovered, cursor, messages }) => {
    own.opened()
    if (own.since !== null && !recovered) own.refused('not recovered')
    messages.forEach(own.message)
    own.since ??= cursor
  })
  socket.on('message', own.message)
  socket.on('cursor', ({ cursor }) => (own.since = cursor))
  socket.on('connect_error', ({ message }) => {
    if (own.connects === 0) own.refused(message)
  })
}

function passed() {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MS))
}

openWebSocket()
openEventSource()
void openPolling()
void openStream()
openSocketIo('websocket')
openSocketIo('polling')
openIframe()
