import type { Problem } from '../errors.ts'
import { keyOf } from './problems.ts'

/** Where the parts of a config say what is wrong with it, each without stopping the others. */
export interface Report {
  problem(key: string, message: string): void
  warning(text: string): void
}

/** Collects problems, those left out that only follow from a value which has been refused already. */
export function createReport(
  refused: readonly (readonly PropertyKey[])[],
  problems: Problem[],
  warnings: string[],
): Report {
  const keys = refused.map(keyOf)
  return {
    problem(key, message) {
      if (keys.some((other) => other === key || other.startsWith(`${key}.`))) return
      problems.push({ code: 'CONFIG_INVALID', key, message })
    },
    warning(text) {
      warnings.push(text)
    },
  }
}
