import t from 'tap'
import { createListener } from '../../src/listeners/create.ts'
import { createLogger } from '../../src/ops/logger.ts'
import type { State } from './contract.ts'
import { requestsContract } from './requests-contract.ts'
import { streamsContract } from './streams-contract.ts'

const log = createLogger({ level: 'silent' })

for (const kind of ['uws', 'node'] as const) {
  streamsContract(t, kind, (options) => createListener<State>(kind, options, log))
  requestsContract(t, kind, (options) => createListener<State>(kind, options, log))
}
