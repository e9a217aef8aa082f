import t from 'tap'
import { HAPROXY, skipWithout } from '../support/packages.ts'
import { startPostgres } from '../support/postgres.ts'
import { testProxy } from './contract.ts'

const skip = skipWithout(HAPROXY)
if (skip === false) testProxy(t, 'haproxy', await startPostgres(t))
else t.pass('skipped', { skip })
