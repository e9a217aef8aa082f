import type { Migration } from '../migration.ts'

/** Forgetting. */
export const forget: Migration = {
  version: 7,
  name: 'forget',
  sql: `
SELECT 1;
`,
}
