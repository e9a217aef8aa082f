// A node that leads and keeps house, to be killed: `housekeeping-node.ts <url> <holder> <ttlMs>`.
import { Housekeeping } from '../../src/database/housekeeping.ts'
import { createLeadership } from '../../src/database/leadership.ts'
import { createDatabase } from '../../src/database/pool.ts'
import { silent } from './postgres.ts'

const [url = '', holder = '', ttlMs = ''] = process.argv.slice(2)
const log = silent()
const pool = createDatabase({ url, minConnections: 0, maxConnections: 4, cleanupTimeoutMs: 10_000, log })
const leadership = createLeadership({ pool, holder, log, ttlMs: Number(ttlMs) })
// Few at once: it is to be killed in the middle of them.
const housekeeping = new Housekeeping({ pool, leadership, log, drainMs: 5, drainRows: 50 })
leadership.onChange((token) => void process.stdout.write(`token ${token}\n`))
await leadership.start()
housekeeping.start()
