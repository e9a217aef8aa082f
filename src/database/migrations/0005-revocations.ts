import type { Migration } from '../migration.ts'

/** Who is refused until when. */
export const revocations: Migration = {
  version: 5,
  name: 'revocations',
  sql: `
SELECT 1;
`,
}
