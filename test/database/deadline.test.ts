import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { withAny, withDeadline } from '../../src/deadline.ts'
import { collectGarbage } from '../support/garbage.ts'

/** Work that ends with its signal only. */
const heed = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))

void t.test('every deadline fires, whatever the garbage collector takes', async (t) => {
  const script = `
    const { withDeadline } = await import(${JSON.stringify(new URL('../../src/deadline.ts', import.meta.url).href)})
    const stopped = new AbortController()
    let fired = 0
    const heed = (signal) => new Promise((resolve) => signal.addEventListener('abort', resolve))
    for (let n = 0; n < 200; n++) void withDeadline(400, [stopped.signal], heed).then(() => fired++)
    const collecting = setInterval(gc, 20)
    setTimeout(() => { clearInterval(collecting); console.log(fired) }, 1000)`
  const args = ['--expose-gc', '--import', 'tsx', '--input-type=module', '--eval', script]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await Promise.all([text(child.stdout), once(child, 'close')])
  t.equal(said.trim(), '200')
})

void t.test('the reason is that of the deadline, or of the signal that aborted', async (t) => {
  await t.rejects(withDeadline(5, [], heed), { name: 'TimeoutError', message: 'no end within 5 ms' })
  const [first, second] = [new AbortController(), new AbortController()]
  const reason = new Error('stopped')
  const work = withDeadline(10_000, [first.signal, second.signal], heed)
  collectGarbage()
  second.abort(reason)
  await t.rejects(work, reason)
  const late = withAny([first.signal, second.signal], async (signal) => signal.throwIfAborted())
  await t.rejects(late, reason, 'one that had aborted before')
})

void t.test('when the work has ended nothing of it is left', async (t) => {
  const stopped = new AbortController()
  let kept: AbortSignal | undefined
  const answer = await withDeadline(20, [stopped.signal], async (signal) => {
    kept = signal
    return 'done'
  })
  t.equal(answer, 'done')
  await t.rejects(
    withDeadline(20, [stopped.signal], async () => Promise.reject(new Error('refused'))),
    {
      message: 'refused',
    },
  )
  await new Promise((resolve) => setTimeout(resolve, 40))
  stopped.abort()
  t.equal(kept?.aborted, false)
})
