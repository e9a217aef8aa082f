import { Server } from 'engine.io'
import { pino } from 'pino'
import t from 'tap'
import { Counts } from '../../src/ops/counts.ts'
import type { EngineServer } from '../../src/transports/engineio/engine.ts'
import { watchEngine } from '../../src/transports/engineio/watch.ts'

const UNKNOWN_SESSION = 1
const BAD_REQUEST = 3

for (const shared of [true, false]) {
  t.test(`a session that another worker has is told once where the port is shared: ${shared}`, (t) => {
    const lines: { level: number; msg: string }[] = []
    const log = pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) })
    const engine = new Server()
    t.teardown(() => engine.close())
    const live = { rules: { config: { workers: shared ? 2 : 1 } } }
    watchEngine(engine as unknown as EngineServer, 'uws', { counts: new Counts(), services: { log }, live })
    engine.emit('connection_error', { code: BAD_REQUEST })
    t.same(lines, [])
    for (let n = 0; n < 3; n++) engine.emit('connection_error', { code: UNKNOWN_SESSION })
    if (shared) t.match(lines, [{ level: 40, msg: /reached a worker that does not know its session/ }])
    t.equal(lines.length, shared ? 1 : 0)
    t.end()
  })
}
