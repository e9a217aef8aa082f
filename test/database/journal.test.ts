import t from 'tap'
import { MAJORS, skipMajor } from '../support/majors.ts'
import { startPostgres } from '../support/postgres.ts'
import { appendingSuite } from './appending.ts'
import { publishRowSuite } from './publish-row.ts'
import { publishingSuite } from './publishing.ts'

for (const major of MAJORS) {
  await t.test(`PostgreSQL ${major}`, { skip: await skipMajor(major) }, async (t) => {
    const server = await startPostgres(t, { major, settings: { max_prepared_transactions: '2' } })
    await publishingSuite(t, server)
    await publishRowSuite(t, server)
    await appendingSuite(t, server)
  })
}
