import { createRequire } from 'node:module'

// By the package's own name: the file lies at another depth in src/ than in dist/.
const { version } = createRequire(import.meta.url)('livemessages/package.json') as { version: string }

/** This package's version. */
export const VERSION = version
