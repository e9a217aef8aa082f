import t from 'tap'
import { parseAddress } from '../../src/config/address.ts'

t.test('an interface, a port, or both', async (t) => {
  for (const [text, address] of [
    ['0:8000', { host: '0.0.0.0', port: 8000 }],
    ['*:8000', { host: '0.0.0.0', port: 8000 }],
    [':8000', { port: 8000 }],
    ['8000', { port: 8000 }],
    ['0', { port: 0 }],
    ['localhost', { host: 'localhost' }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['127.0.0.1:80', { host: '127.0.0.1', port: 80 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['[::1]', { host: '::1' }],
    ['::1', { host: '::1' }],
    ['push.example:7777', { host: 'push.example', port: 7777 }],
  ] as const) {
    t.strictSame(parseAddress(text), address, text)
  }
})

t.test('anything else is a usage error that shows what came', async (t) => {
  for (const text of [
    '',
    ':',
    'localhost:',
    ':x',
    ':65536',
    ':-1',
    '1.2.3:80',
    '[::1',
    '[x]:80',
    'a b',
    'a:1:2',
    'http://a',
  ]) {
    t.throws(() => parseAddress(text), { code: 'USAGE', message: `got '${text}'` }, JSON.stringify(text))
  }
})
