import t from 'tap'
import { createListener } from '../../src/listeners/create.ts'
import { createLogger } from '../../src/ops/logger.ts'
import { listenerContract, type State } from './contract.ts'

const log = createLogger({ level: 'silent' })

for (const kind of ['uws', 'node'] as const) {
  listenerContract(t, kind, (options) => createListener<State>(kind, options, log))
}
