import t from 'tap'
import { unavailable } from '../../src/database/failures.ts'
import { failureOf } from '../../src/journal/pg-failure.ts'

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code })
}

t.test('what could not be put into words is refused, for it never will be', (t) => {
  t.equal(failureOf(new RangeError('Invalid string length')), 'data')
  t.equal(failureOf(new TypeError('Do not know how to serialize a BigInt')), 'data')
  t.equal(failureOf(withCode('ERR_STRING_TOO_LONG')), 'data')
  t.end()
})

t.test('the server says what it can not take, and what may work later', (t) => {
  for (const code of ['22021', '23514', '54000']) t.equal(failureOf(withCode(code)), 'data', code)
  t.equal(failureOf(withCode('LM001')), 'lease')
  for (const code of ['40001', '53100', '42501']) t.equal(failureOf(withCode(code)), 'not done', code)
  t.end()
})

t.test('a lost connection leaves it in doubt, one that never was does not', (t) => {
  t.equal(failureOf(unavailable(new Error('Connection terminated unexpectedly'))), 'doubt')
  t.equal(failureOf(unavailable(withCode('ECONNRESET'))), 'doubt')
  t.equal(failureOf(unavailable(withCode('ECONNREFUSED'))), 'not done')
  t.equal(failureOf(new Error('no answer within 10 ms')), 'doubt')
  t.end()
})
