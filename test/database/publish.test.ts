import t from 'tap'
import { MAJORS, skipMajor } from '../support/majors.ts'
import { startPostgres } from '../support/postgres.ts'
import { bareSuite } from './bare-publishing.ts'

for (const major of MAJORS) {
  await t.test(`PostgreSQL ${major}`, { skip: await skipMajor(major) }, async (t) => {
    const server = await startPostgres(t, { major })
    await bareSuite(t, server)
  })
}
