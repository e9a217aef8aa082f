import type { Migration } from '../migration.ts'

/** Signals on their way. */
export const signals: Migration = {
  version: 4,
  name: 'signals',
  sql: `
SELECT 1;
`,
}
