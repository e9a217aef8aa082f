import { once } from 'node:events'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { PortLock } from '../../src/workers/port-lock.ts'
import { freePort } from '../support/installation.ts'

// Two groups that begin at the same time: their sockets would share the port without a word.

const never = new AbortController().signal

async function listening(t: Test, host: string, port: number): Promise<void> {
  const server = createServer().listen(port, host)
  t.teardown(() => server.close())
  await once(server, 'listening')
}

t.test('the second waits until the first listens, and is told so; whatever the interface', async (t) => {
  const port = await freePort()
  const first = new PortLock({ host: '0.0.0.0', port })
  const second = new PortLock({ host: '127.0.0.1', port })
  t.same(await first.hold(never), { host: '0.0.0.0', port })
  const refused = second.hold(never)
  await listening(t, '0.0.0.0', port)
  first.release()
  await t.rejects(refused, { code: 'PORT_TAKEN' })
})

t.test('a first that fails makes way for the second', async (t) => {
  const port = await freePort()
  const first = new PortLock({ host: '127.0.0.1', port })
  const second = new PortLock({ host: '127.0.0.1', port })
  await first.hold(never)
  const held = second.hold(never)
  first.release()
  t.same(await held, { host: '127.0.0.1', port })
  second.release()
})

t.test('one that starts for ever is not waited for that long', async (t) => {
  const port = await freePort()
  const first = new PortLock({ host: '127.0.0.1', port })
  await first.hold(never)
  t.teardown(() => first.release())
  const second = new PortLock({ host: '127.0.0.1', port }, { patienceMs: 100 })
  await t.rejects(second.hold(never), { code: 'PORT_TAKEN', message: /another group/ })
  const third = new PortLock({ host: '127.0.0.1', port })
  await t.rejects(third.hold(AbortSignal.abort()), { code: 'STOPPED' })
})

t.test('a port that was taken is asked for anew', async (t) => {
  const port = await freePort()
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  const lock = new PortLock({ host: '127.0.0.1', port })
  await t.rejects(lock.hold(never), { code: 'PORT_TAKEN' })
  server.close()
  await once(server, 'close')
  t.same(await lock.hold(never), { host: '127.0.0.1', port })
  lock.release()
})

t.test('port 0: it chooses one', async (t) => {
  const lock = new PortLock({ host: '127.0.0.1', port: 0 })
  const address = await lock.hold(never)
  t.ok('port' in address && address.port > 0)
  t.same(await lock.hold(never), address, 'and keeps to it')
  lock.release()
})
