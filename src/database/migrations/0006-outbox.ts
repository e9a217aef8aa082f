import type { Migration } from '../migration.ts'

/** Publications of other databases on their way home. */
export const outbox: Migration = {
  version: 6,
  name: 'outbox',
  sql: `
SELECT 1;
`,
}
