/**
 * Runs in a thread of its own: looks whether the main one still comes round, and asks where it is when it does not. As a
 * text, for a thread can't load TypeScript wherever the daemon can. `workerData` is what both threads see: how often the
 * main one came round, and from how many ms on that it did not is of interest.
 */
export const WITNESS_THREAD = `
'use strict'
const { Session } = require('node:inspector')
const { parentPort, workerData } = require('node:worker_threads')
const MAX_FRAMES = 20
let count = -1
let since = performance.now()
let asked = false
// Whoever is held up all the time is not to be held up by us as well.
const EVERY_MS = 5000
let askedAt = -Infinity

// Pauses the main thread for as long as it takes to ask for its stack: some ms of a turn that is too long anyway.
function ask() {
  const session = new Session()
  const files = new Map()
  session.on('Debugger.scriptParsed', ({ params }) => void files.set(params.scriptId, params.url))
  session.on('Debugger.paused', ({ params }) => {
    const frames = params.callFrames.slice(0, MAX_FRAMES).map(({ functionName, location }) => {
      const place = (files.get(location.scriptId) ?? '') + ':' + (location.lineNumber + 1)
      return functionName === '' ? place : functionName + ' (' + place + ')'
    })
    session.disconnect() // lets it go on
    parentPort.postMessage(frames)
  })
  session.connectToMainThread()
  session.post('Debugger.enable')
  session.post('Debugger.pause')
}

setInterval(() => {
  const now = performance.now()
  const latest = Atomics.load(workerData, 0)
  if (latest !== count) {
    count = latest
    since = now
    asked = false
  } else if (!asked && now - askedAt > EVERY_MS && now - since > Atomics.load(workerData, 1)) {
    asked = true
    askedAt = now
    ask()
  }
}, 20)
`
