// A node that does nothing but lead, for tests that freeze or kill it: `leading-node.ts <url> <holder> <ttlMs>`.
// It writes into table acts under the lease as fast as it can, and prints each change of its token.
import { createLeadership } from '../../src/database/leadership.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { silent } from './postgres.ts'

const [url = '', holder = '', ttlMs = ''] = process.argv.slice(2)
const log = silent()
const pool = createDatabase({ url, minConnections: 0, maxConnections: 3, cleanupTimeoutMs: 10_000, log })
const leadership = createLeadership({ pool, holder, log, ttlMs: Number(ttlMs) })
const print = (line: string): void => void process.stdout.write(`${line}\n`)

leadership.onChange((token) => print(`token ${token}`))
process.once('SIGTERM', () => {
  void leadership.stop().then(() => process.exit())
})
await leadership.start()
let refused = 0
for (;;) {
  const { token } = leadership
  if (token !== null) {
    try {
      await pool.query(
        `WITH lease AS (SELECT livemessage.check_lease('leader', $1))
         INSERT INTO acts (token, holder) SELECT $1, $2 FROM lease`,
        [token, holder],
      )
    } catch (error) {
      print(
        `refused ${++refused} ${error instanceof Error && 'code' in error ? String(error.code) : String(error)}`,
      )
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 5))
}
