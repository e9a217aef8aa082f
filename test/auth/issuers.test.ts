import { createHmac, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createTokens, MAX_TOKEN } from '../../src/auth/tokens.ts'
import { ConfigError } from '../../src/errors.ts'

const OLD = 'the old secret, of at least thirty-two bytes'
const NEW = 'the new secret, of at least thirty-two bytes'
const refused = { name: 'ClientError', code: 'unauthenticated' }

function hs256(payload: object | string, secret: string, header: object = {}): string {
  const encode = (value: object | string): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  const body = `${encode({ alg: 'HS256', ...header })}.${encode(payload)}`
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`
}

const secret = (text: string, more: object = {}) => ({ secret: text, algorithms: ['HS256'], ...more })

t.test('during a rotation tokens of the old and of the new secret count, others do not', async (t) => {
  const tokens = createTokens([secret(NEW), secret(OLD)])
  t.match(await tokens.verify(hs256({ sub: '1' }, OLD)), { id: '1' })
  t.match(await tokens.verify(hs256({ sub: '2' }, NEW)), { id: '2' })
  await t.rejects(tokens.verify(hs256({ sub: '3' }, 'another secret')), { ...refused, message: /signature/ })
  const expired = hs256({ sub: '1', exp: 1 }, OLD)
  await t.rejects(tokens.verify(expired), { ...refused, details: { reason: 'expired' } }, 'by the second')
  await t.rejects(createTokens([secret(NEW)]).verify(hs256({ sub: '1' }, OLD)), refused, 'afterwards')
})

t.test('a token that names its issuer is checked with the keys of that one alone', async (t) => {
  const tokens = createTokens([
    secret(OLD, { issuer: 'https://a.example', audience: 'push' }),
    secret(NEW, { issuer: 'https://b.example' }),
  ])
  t.match(await tokens.verify(hs256({ sub: '1', iss: 'https://a.example', aud: 'push' }, OLD)), { id: '1' })
  t.match(await tokens.verify(hs256({ sub: '2', iss: 'https://b.example' }, NEW)), { id: '2' })
  for (const [name, token] of [
    ['b signs as a', hs256({ sub: '1', iss: 'https://a.example', aud: 'push' }, NEW)],
    ['a signs as b', hs256({ sub: '1', iss: 'https://b.example' }, OLD)],
    ['another audience', hs256({ sub: '1', iss: 'https://a.example', aud: 'x' }, OLD)],
    ['none that is known', hs256({ sub: '1', iss: 'https://c.example' }, OLD)],
    ['none', hs256({ sub: '1' }, OLD)],
    ['a list', hs256({ sub: '1', iss: ['https://a.example'], aud: 'push' }, OLD)],
    ['the last of two', hs256('{"iss":"https://a.example","sub":"1","iss":"https://b.example"}', OLD)],
    ['in the header', hs256({ sub: '1' }, OLD, { iss: 'https://a.example' })],
    ['no JSON', hs256('rubbish', OLD)],
    ['null', hs256('null', OLD)],
    ['__proto__', hs256('{"sub":"1","__proto__":{"iss":"https://a.example"}}', OLD)],
  ] as const) {
    await t.rejects(tokens.verify(token), refused, name)
  }
})

t.test('one without an issuer takes those that no other one claims', async (t) => {
  const tokens = createTokens([secret(OLD), secret(NEW, { issuer: 'https://b.example' })])
  t.match(await tokens.verify(hs256({ sub: '1' }, OLD)), { id: '1' })
  t.match(await tokens.verify(hs256({ sub: '1', iss: 'https://a.example' }, OLD)), { id: '1' })
  await t.rejects(tokens.verify(hs256({ sub: '1', iss: 'https://b.example' }, OLD)), refused)
})

t.test('each issuer has its own keys, whatever a kid says, and nobody else is asked', async (t) => {
  const [a, b] = [await issuer(t), await issuer(t)]
  const tokens = createTokens([
    { jwksUrl: a.url, issuer: 'https://a.example', algorithms: ['ES256'] },
    { jwksUrl: b.url, issuer: 'https://b.example', algorithms: ['ES256'] },
  ])
  t.match(await tokens.verify(await a.sign({ sub: '1', iss: 'https://a.example' })), { id: '1' })
  t.same([a.asked(), b.asked()], [1, 0])
  // Both call their keys `k1`: what was fetched for the one is not found for the other.
  await t.rejects(tokens.verify(await a.sign({ sub: '1', iss: 'https://b.example' })), refused)
  t.match(await tokens.verify(await b.sign({ sub: '2', iss: 'https://b.example' })), { id: '2' })
  for (const kid of ['../k1', 'https://evil.example/k1', '\u0000', 'k1/../k1', '']) {
    await t.rejects(
      tokens.verify(await a.sign({ sub: '1', iss: 'https://a.example' }, { kid })),
      refused,
      kid,
    )
  }
  for (const header of [{ jku: b.url }, { x5u: b.url }]) {
    await t.rejects(tokens.verify(await b.sign({ sub: '1', iss: 'https://a.example' }, header)), refused)
  }
  await t.rejects(tokens.verify(await a.sign({ sub: '1', iss: b.url })), refused, 'an address for an issuer')
  t.same([a.asked(), b.asked()], [1, 1])
})

t.test('while the keys of one issuer can not be had, others are known', async (t) => {
  const b = await issuer(t)
  const tokens = createTokens(
    [
      { jwksUrl: 'http://127.0.0.1:1/', issuer: 'https://a.example', algorithms: ['ES256'] },
      { jwksUrl: b.url, issuer: 'https://b.example', algorithms: ['ES256'] },
    ],
    { jwks: { retryMs: 60_000 } },
  )
  const token = await b.sign({ sub: '1', iss: 'https://a.example' })
  await t.rejects(tokens.verify(token), { name: 'ClientError', code: 'unavailable' })
  t.match(await tokens.verify(await b.sign({ sub: '2', iss: 'https://b.example' })), { id: '2' })
})

t.test('a public key in the list signs nothing as a secret, and a secret checks no other kind', async (t) => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const tokens = createTokens([{ publicKey, algorithms: ['ES256'] }, secret(OLD)])
  t.match(await tokens.verify(hs256({ sub: '1' }, OLD)), { id: '1' })
  t.match(await tokens.verify(await sign(pair.privateKey, { sub: '2' })), { id: '2' })
  await t.rejects(tokens.verify(hs256({ sub: '1' }, publicKey)), refused)
  await t.rejects(tokens.verify(hs256({ sub: '1' }, publicKey.trim())), refused)
  await t.rejects(tokens.verify(hs256({ sub: '1', x: 'x'.repeat(MAX_TOKEN) }, OLD)), refused, 'too long')
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"1"}').toString('base64url')}`
  for (const end of ['.', '.AAAA', '']) await t.rejects(tokens.verify(none + end), refused)
})

t.test('of a token it is known when it was issued, which one it is, and of which database', async (t) => {
  const tokens = createTokens([secret(OLD)])
  const claims = { sub: '42', iat: 1_700_000_000, jti: 'j1', database: 'shop' }
  t.same(await tokens.verify(hs256(claims, OLD)), {
    id: '42',
    issued: 1_700_000_000_000,
    token: 'j1',
    database: 'shop',
  })
  t.same(await tokens.verify(hs256({ sub: '42', jti: 7, database: null }, OLD)), { id: '42', token: '7' })
  for (const wrong of [
    { iat: '1700000000' },
    { iat: null },
    { jti: '' },
    { jti: ['a'] },
    { jti: 'a\u0000b' },
    { jti: 'x'.repeat(256) },
    { database: 7 },
    { database: '' },
    { database: ['a'] },
    { database: 'x'.repeat(64) },
  ]) {
    await t.rejects(tokens.verify(hs256({ sub: '42', ...wrong }, OLD)), refused, JSON.stringify(wrong))
  }
  await t.rejects(tokens.verify(hs256('{"sub":"42","iat":1e400}', OLD)), refused, 'iat is infinite')
  await t.rejects(tokens.verify(hs256('{"sub":"1","sub":9007199254740993}', OLD)), refused, 'sub twice')
})

t.test('what is wrong with a key is told with its place in the list', async (t) => {
  t.throws(() => createTokens([secret(OLD), secret('')]), ConfigError)
  try {
    createTokens([secret(OLD), secret('')])
  } catch (error) {
    t.match(error, { problems: [{ key: 'auth.jwt[1].secret' }] })
  }
})

function sign(key: KeyObject, payload: Record<string, unknown>, header: object = {}): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', ...header }).sign(key)
}

async function issuer(t: Test) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const keys = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256' }] })
  let asked = 0
  const server = createServer((_request, response) => {
    asked++
    response.end(keys)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}/keys`,
    asked: () => asked,
    sign: (payload: Record<string, unknown>, header: object = {}) =>
      sign(privateKey, payload, { kid: 'k1', ...header }),
  }
}
