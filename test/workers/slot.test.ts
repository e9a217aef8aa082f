import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { LivemessageError } from '../../src/errors.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { Slot } from '../../src/workers/slot.ts'

// A place whose processes can't be had: what real ones do is in the other tests.

t.test('a process that can not be started is tried again with pauses, and logged once', async (t) => {
  let attempts = 0
  const lines: string[] = []
  const slot = new Slot({
    number: 3,
    fork: () => {
      attempts++
      return Promise.reject(new LivemessageError('PORT_TAKEN', 'somebody has it'))
    },
    onReport: () => undefined,
    onEnd: () => undefined,
    retry: { minMs: 100, maxMs: 100 },
    log: createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
  })
  slot.start()
  t.match(await slot.beginning, { code: 'PORT_TAKEN', message: 'somebody has it', exitCode: 3 })
  await delay(600)
  t.ok(attempts > 1 && attempts < 60, `${attempts} attempts`)
  t.equal(slot.state, 'down')
  t.equal(slot.restarts, 0, 'nothing has started')
  await slot.stop('shutdown', 1000)
  const before = attempts
  await delay(200)
  t.equal(attempts, before, 'no more after the stop')
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { worker: 3, msg: 'worker can not start', reason: 'somebody has it' })
})

t.test('a place that is stopped before it begins says so to whoever waits', async (t) => {
  const slot = new Slot({
    number: 1,
    fork: () => Promise.reject(new Error('never asked')),
    onReport: () => undefined,
    onEnd: () => undefined,
    retry: { minMs: 1, maxMs: 1 },
    log: createLogger({ level: 'silent' }),
  })
  await slot.stop('restart', 1000)
  slot.start()
  t.match(await slot.beginning, { code: 'STOPPED' })
})
