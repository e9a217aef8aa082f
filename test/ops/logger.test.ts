import t from 'tap'
import { createLogger } from '../../src/ops/logger.ts'

t.test('tokens, passwords and secrets are left out, one level down too', async (t) => {
  const lines: string[] = []
  const log = createLogger({ level: 'info', destination: { write: (text) => lines.push(text) } })
  for (const name of ['token', 'password', 'secret']) {
    log.info({ [name]: 'hunter2', kept: 1 }, 'at the top')
    log.info({ credentials: { [name]: 'hunter2', kept: 1 } }, 'below')
    log.child({ [name]: 'hunter2' }).info({ kept: 1 }, 'of a child')
  }
  t.equal(lines.length, 9)
  for (const line of lines) {
    t.notMatch(line, 'hunter2')
    t.match(line, '"kept":1', 'what stands beside it is there')
    t.notMatch(line, /token|password|secret/, 'nor is its name')
  }
})

t.test('a line has its level as a word, a time that can be read, and nothing of the machine', async (t) => {
  const lines: string[] = []
  const log = createLogger({ level: 'warn', destination: { write: (text) => lines.push(text) } })
  log.info('not this one')
  log.warn({ a: 1 }, 'told')
  t.equal(lines.length, 1)
  const { time, ...rest } = JSON.parse(lines[0]!) as Record<string, unknown>
  t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.strictSame(rest, { level: 'warn', a: 1, msg: 'told' })
})
