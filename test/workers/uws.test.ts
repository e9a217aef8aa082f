import t from 'tap'
import { sharing } from './sharing.ts'

await sharing(t, 'uws')
