// Run once, before the first test: two test files that install at the same time would be in each other's way.
import { installMissing } from './packages.ts'

await installMissing()
