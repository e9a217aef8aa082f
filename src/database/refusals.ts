import { codeOf } from './process.ts'

/** The database has no tables of ours, or older ones: it was not migrated. */
export function lacksSchema(error: unknown): boolean {
  // Undefined function, schema, table.
  return ['42883', '3F000', '42P01'].includes(codeOf(error) ?? '')
}

/** What was to be done under a lease that another node has by now. */
export function isLeaseRefusal(error: unknown): boolean {
  return codeOf(error) === 'LM001'
}
