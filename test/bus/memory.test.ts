import t from 'tap'
import { createBus } from '../../src/bus/create.ts'
import { busContract } from './contract.ts'

busContract(t, 'memory bus', async () => ({
  bus: await createBus({ kind: 'memory' }),
  cut: () => undefined,
  mend: () => undefined,
}))
