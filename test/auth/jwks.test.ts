import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { SignJWT } from 'jose'
import type { JWTHeaderParameters } from 'jose'
import t from 'tap'
import type { Test } from 'tap'
import { createTokens } from '../../src/auth/tokens.ts'
import type { JwksOptions } from '../../src/auth/tokens.ts'

const first = generateKeyPairSync('rsa', { modulusLength: 2048 })
const second = generateKeyPairSync('rsa', { modulusLength: 2048 })
const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const unauthenticated = { name: 'ClientError', code: 'unauthenticated' }
const unavailable = { name: 'ClientError', code: 'unavailable' }

function jwk(pair: { publicKey: KeyObject }, members: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...pair.publicKey.export({ format: 'jwk' }), ...members }
}

function sign(pair: { privateKey: KeyObject }, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
  return new SignJWT({ sub: '42' }).setProtectedHeader({ alg: 'RS256', ...header }).sign(pair.privateKey)
}

/** An issuer: serves what `answer` holds at the moment, and counts who asks. */
async function startIssuer(t: Test, keys: readonly unknown[] = []) {
  const serve =
    (body: unknown): RequestListener =>
    (_, response) =>
      response.end(JSON.stringify(body))
  const issuer = {
    url: '',
    requests: 0,
    answer: serve({ keys }),
    serve(keys: readonly unknown[]) {
      issuer.answer = serve({ keys })
    },
    async stop() {
      server.closeAllConnections()
      if (server.listening) await once(server.close(), 'close')
    },
    /** Again on the same port. */
    async start() {
      server.listen(Number(new URL(issuer.url).port), '127.0.0.1')
      await once(server, 'listening')
    },
  }
  const server = createServer((request, response) => {
    issuer.requests++
    issuer.answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not on a port')
  issuer.url = `http://127.0.0.1:${address.port}/jwks.json`
  t.teardown(() => issuer.stop())
  return issuer
}

/** Delays of nothing, where a test doesn't say otherwise: every unknown key and every failure asks again. */
function tokensOf(url: string, jwks: JwksOptions = {}) {
  const logged: string[] = []
  const log = (_: unknown, message?: unknown): void => void logged.push(String(message))
  const tokens = createTokens(
    { jwksUrl: url, algorithms: [] },
    { log: { warn: log, info: log }, jwks: { timeoutMs: 5000, cooldownMs: 0, retryMs: 0, ...jwks } },
  )
  return { verify: (token: string) => tokens.verify(token), logged }
}

t.test('keys come from the configured address, once for all tokens', async (t) => {
  const issuer = await startIssuer(t, [jwk(first, { kid: 'one' }), jwk(second, { kid: 'two' })])
  const { verify } = tokensOf(issuer.url, { cooldownMs: 60_000 })
  const [one, two] = await Promise.all([sign(first, { kid: 'one' }), sign(second, { kid: 'two' })])
  const users = await Promise.all([verify(one), verify(two), verify(one), verify(two)])
  t.same(users, [{ id: '42' }, { id: '42' }, { id: '42' }, { id: '42' }])
  await verify(one)
  t.equal(issuer.requests, 1)
  await t.rejects(verify(await sign(first, { kid: 'two' })), unauthenticated, "another key's name")
})

t.test(
  'a key that the issuer has just added is fetched; one that it took away is refused when the set is old',
  async (t) => {
    const issuer = await startIssuer(t, [jwk(first, { kid: 'one' })])
    const { verify } = tokensOf(issuer.url)
    const [one, two] = await Promise.all([sign(first, { kid: 'one' }), sign(second, { kid: 'two' })])
    await verify(one)
    await t.rejects(verify(two), unauthenticated)
    issuer.serve([jwk(second, { kid: 'two' })])
    t.same(await verify(two), { id: '42' })
    await t.rejects(verify(one), unauthenticated, 'gone from the set')

    const always = tokensOf(issuer.url, { maxAgeMs: -1 })
    await always.verify(two)
    issuer.serve([jwk(first, { kid: 'one' })])
    await t.rejects(always.verify(two), unauthenticated, 'an old set is fetched anew')
  },
)

t.test('many tokens with unknown keys cause one request, not many', async (t) => {
  const issuer = await startIssuer(t, [jwk(first, { kid: 'one' })])
  const { verify } = tokensOf(issuer.url, { cooldownMs: 60_000 })
  const known = await sign(first, { kid: 'one' })
  for (let index = 0; index < 20; index++) {
    await t.rejects(verify(await sign(second, { kid: `made-up-${index}` })), unauthenticated)
  }
  t.same(await verify(known), { id: '42' })
  t.equal(issuer.requests, 1)
})

t.test('without a kid every key of the right kind is tried', async (t) => {
  const issuer = await startIssuer(t, [jwk(curve), jwk(first), jwk(second)])
  const { verify } = tokensOf(issuer.url)
  t.same(await verify(await sign(second)), { id: '42' })
  t.same(await verify(await sign(curve, { alg: 'ES256' })), { id: '42' })
  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 })
  await t.rejects(verify(await sign(stranger)), unauthenticated)
})

t.test('addresses and keys in a token are never looked at', async (t) => {
  const issuer = await startIssuer(t, [jwk(first, { kid: 'one' })])
  const attacker = await startIssuer(t, [jwk(second, { kid: 'two' })])
  const { verify } = tokensOf(issuer.url)
  for (const header of [
    { jku: attacker.url, kid: 'two' },
    { jku: attacker.url, kid: 'one' },
    { x5u: attacker.url, kid: 'one' },
    { jwk: jwk(second), kid: 'one' },
    { kid: attacker.url },
    { kid: '../../../../dev/null' },
    { kid: '__proto__' },
  ]) {
    await t.rejects(verify(await sign(second, header)), unauthenticated, JSON.stringify(header).slice(0, 60))
  }
  t.equal(attacker.requests, 0)
})

t.test('a symmetric key in the set signs nothing', async (t) => {
  const k = Buffer.from('x'.repeat(32))
  const issuer = await startIssuer(t, [
    { kty: 'oct', k: k.toString('base64url'), kid: 'one' },
    jwk(first, { kid: 'one' }),
  ])
  const { verify } = tokensOf(issuer.url)
  const token = await new SignJWT({ sub: '42' }).setProtectedHeader({ alg: 'HS256', kid: 'one' }).sign(k)
  await t.rejects(verify(token), unauthenticated)
  t.equal(issuer.requests, 0, 'its algorithm refuses it before anything is fetched')
})

t.test('a redirect is not followed', async (t) => {
  const other = await startIssuer(t, [jwk(first, { kid: 'one' })])
  const issuer = await startIssuer(t)
  issuer.answer = (_, response) => response.writeHead(302, { location: other.url }).end()
  await t.rejects(tokensOf(issuer.url).verify(await sign(first, { kid: 'one' })), unavailable)
  t.equal(other.requests, 0)
})

t.test("an issuer that is down is not the client's fault; when it is back, tokens work again", async (t) => {
  const issuer = await startIssuer(t, [jwk(first, { kid: 'one' })])
  const { verify, logged } = tokensOf(issuer.url)
  const token = await sign(first, { kid: 'one' })
  await issuer.stop()
  await t.rejects(verify(token), unavailable)
  await t.rejects(verify(token), unavailable)
  t.same(logged, ['the key set cannot be had'], 'the first failure is logged, not each')
  await issuer.start()
  t.same(await verify(token), { id: '42' })
  t.same(logged, ['the key set cannot be had', 'the key set is there again'])
})

t.test('keys that are known stay good while the issuer is down, and not for ever', async (t) => {
  const issuer = await startIssuer(t, [jwk(first, { kid: 'one' })])
  const patient = tokensOf(issuer.url, { maxAgeMs: -1 })
  const strict = tokensOf(issuer.url, { maxAgeMs: -1, maxStaleMs: -1 })
  const [one, two] = await Promise.all([sign(first, { kid: 'one' }), sign(second, { kid: 'two' })])
  await patient.verify(one)
  await strict.verify(one)
  await issuer.stop()
  t.same(await patient.verify(one), { id: '42' })
  t.same(await patient.verify(one), { id: '42' })
  await t.rejects(patient.verify(two), unavailable, 'a key that nobody knows might be a new one')
  await t.rejects(strict.verify(one), unavailable)
})

t.test('after a failure nobody asks again for a while', async (t) => {
  const issuer = await startIssuer(t)
  issuer.answer = (_, response) => response.writeHead(500).end()
  const { verify } = tokensOf(issuer.url, { retryMs: 60_000 })
  const token = await sign(first, { kid: 'one' })
  for (let index = 0; index < 5; index++) await t.rejects(verify(token), unavailable)
  t.equal(issuer.requests, 1)
})

t.test('an issuer that never answers, or never ends, costs the deadline and no more', async (t) => {
  const issuer = await startIssuer(t)
  const token = await sign(first, { kid: 'one' })
  for (const answer of [
    () => undefined,
    (_, response) => response.flushHeaders(),
    (_, response) => void response.write('{"keys":['),
  ] satisfies RequestListener[]) {
    issuer.answer = answer
    const began = performance.now()
    await t.rejects(tokensOf(issuer.url, { timeoutMs: 50 }).verify(token), unavailable)
    t.ok(performance.now() - began < 2000)
  }
})

t.test('an issuer that answers rubbish', async (t) => {
  const issuer = await startIssuer(t)
  const token = await sign(first, { kid: 'one' })
  for (const body of [
    '',
    'rubbish',
    '<html>',
    'null',
    '[]',
    '{}',
    '{"keys":{}}',
    '{"keys":[null]}',
    '{"keys":[42]}',
    '\ufffe',
  ]) {
    issuer.answer = (_, response) => response.end(body)
    await t.rejects(tokensOf(issuer.url).verify(token), unavailable, body)
  }
  for (const keys of [[], [{}], [{ kty: 'RSA', kid: 'other' }], [{ kty: 'EC', kid: 'one' }]]) {
    issuer.serve(keys)
    await t.rejects(tokensOf(issuer.url).verify(token), unauthenticated, JSON.stringify(keys))
  }
  for (const key of [
    { kty: 'RSA', kid: 'one' },
    { kty: 'RSA', kid: 'one', n: '!!', e: 'AQAB' },
  ]) {
    issuer.serve([key])
    await t.rejects(tokensOf(issuer.url).verify(token), unavailable, 'the right key, unreadable')
  }
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  issuer.serve([jwk(weak, { kid: 'one' })])
  await t.rejects(tokensOf(issuer.url).verify(token), unavailable, 'a weak key')
  issuer.serve([{ ...first.privateKey.export({ format: 'jwk' }), kid: 'one' }])
  await t.rejects(tokensOf(issuer.url).verify(token), unavailable, 'a private key in public')
})

t.test('an endless answer is cut off', async (t) => {
  const issuer = await startIssuer(t)
  let closed: Promise<unknown> = Promise.resolve()
  issuer.answer = (_, response) => {
    closed = once(response, 'close')
    const chunk = ' '.repeat(64 * 1024)
    const pour = (): void => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', pour)
    pour()
  }
  const began = performance.now()
  await t.rejects(tokensOf(issuer.url).verify(await sign(first, { kid: 'one' })), unavailable)
  t.ok(performance.now() - began < 2500, 'by its bytes, long before the deadline of 5 s')
  await closed
})
