import t from 'tap'
import { APACHE, skipWithout } from '../support/packages.ts'
import { startPostgres } from '../support/postgres.ts'
import { testProxy } from './contract.ts'

const skip = skipWithout(APACHE)
if (skip === false) testProxy(t, 'apache', await startPostgres(t))
else t.pass('skipped', { skip })
