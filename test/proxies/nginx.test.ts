import t from 'tap'
import { NGINX, skipWithout } from '../support/packages.ts'
import { startPostgres } from '../support/postgres.ts'
import { testProxy } from './contract.ts'

const skip = skipWithout(NGINX)
if (skip === false) testProxy(t, 'nginx', await startPostgres(t))
else t.pass('skipped', { skip })
