import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import type { JWTHeaderParameters } from 'jose'
import t from 'tap'
import { createTokens, MAX_TOKEN } from '../../src/auth/tokens.ts'
import type { JwtConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/errors.ts'

const SECRET = 'a secret of at least thirty-two bytes, and for HS512 of sixty-four'
const hmac = createTokens({ secret: SECRET, algorithms: [] })
const now = (): number => Math.floor(Date.now() / 1000)
const refused = { name: 'ClientError', code: 'unauthenticated' }

function base64url(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

/** A token whose every part is said, signed as HS256 with the key given. */
function forge(header: unknown, payload: unknown, key: string | Buffer = SECRET): string {
  const body = `${base64url(header)}.${base64url(payload)}`
  return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`
}

function hs256(payload: unknown): string {
  return forge({ alg: 'HS256' }, payload)
}

function sign(
  key: KeyObject,
  header: JWTHeaderParameters,
  payload: Record<string, unknown> = { sub: '42' },
): Promise<string> {
  return new SignJWT(payload).setProtectedHeader(header).sign(key)
}

/** A self-signed certificate, and a token signed with its key. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUQKXyJ+4v+6SnWUHC2xDwJu/ljycwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjExMTIwNThaGA8yMTI2MTAyODExMjA1
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKWx
9cuT3Trw0YA5472HqHuWtcSy2HfD64SXG5DHvIGyeLIvmW6hAYtnJUY/JYyCXkqS
8vQZefwZyaHvUFyMGSCjUzBRMB0GA1UdDgQWBBTr9i0BYh9d0MEBta4N/xNEoX2p
UTAfBgNVHSMEGDAWgBTr9i0BYh9d0MEBta4N/xNEoX2pUTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQC+1z/zFpTl33/Xl0j0pa46qpmS2k75HVFl
G9mUOfilegIgHHFRruJOzMMNKwsj8MB9TTDfdyz+UUmnCpw/8+cjpso=
-----END CERTIFICATE-----
`
const CERTIFIED_TOKEN =
  'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.qU04AVXJKdXtwvHWDrxoLepp77_Mr_h6WGKYBPhRk0-XrRpng4y4TLxj2XwOc8DCg_8uviE8iCGqYqiw8ScEeQ'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const rsaPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()

t.test('a signed token says who its bearer is', async (t) => {
  const exp = now() + 60
  const claims = {
    sub: '42',
    exp,
    info: { name: 'Ada' },
    channels: { subscribe: ['chat:*', '*'], publish: ['chat:lobby'] },
  }
  t.same(await hmac.verify(hs256(claims)), {
    id: '42',
    expires: exp * 1000,
    info: { name: 'Ada' },
    channels: { subscribe: ['chat:*', '*'], publish: ['chat:lobby'] },
  })
  t.same(await hmac.verify(hs256({ sub: '42' })), { id: '42' })
  t.same(await hmac.verify(hs256({ sub: 42 })), { id: '42' }, 'a number becomes text')
  t.same(await hmac.verify(hs256({ sub: '42', channels: null, more: 1 })), { id: '42' })
})

t.test('every algorithm works with its key, and each key is given as PEM, certificate or JWK', async (t) => {
  for (const alg of ['HS256', 'HS384', 'HS512']) {
    const token = await new SignJWT({ sub: '42' }).setProtectedHeader({ alg }).sign(Buffer.from(SECRET))
    t.same(await hmac.verify(token), { id: '42' }, alg)
  }
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
  const ed = generateKeyPairSync('ed25519')
  for (const [pair, algorithms] of [
    [rsa, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']],
    [p256, ['ES256']],
    [p384, ['ES384']],
    [p521, ['ES512']],
    [ed, ['EdDSA', 'Ed25519']],
  ] as const) {
    const pem = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const jwk = JSON.stringify(pair.publicKey.export({ format: 'jwk' }))
    for (const alg of algorithms) {
      const token = await sign(pair.privateKey, { alg })
      for (const publicKey of [pem, pem.replaceAll('\n', '\\n'), jwk]) {
        t.same(await createTokens({ publicKey, algorithms: [] }).verify(token), { id: '42' }, alg)
      }
    }
  }
  const pkcs1 = rsa.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString()
  const token = await sign(rsa.privateKey, { alg: 'RS256' })
  t.same(await createTokens({ publicKey: pkcs1, algorithms: ['RS256'] }).verify(token), { id: '42' })
  const byCertificate = createTokens({ publicKey: CERTIFICATE, algorithms: [] })
  t.same(await byCertificate.verify(CERTIFIED_TOKEN), { id: '42' })
})

t.test('a secret and a public key side by side: each only for algorithms of its own kind', async (t) => {
  const both = createTokens({ secret: SECRET, publicKey: rsaPem, algorithms: [] })
  t.same(await both.verify(hs256({ sub: '1' })), { id: '1' })
  t.same(await both.verify(await sign(rsa.privateKey, { alg: 'RS256' })), { id: '42' })
  await t.rejects(both.verify(forge({ alg: 'HS256' }, { sub: '1' }, rsaPem)), refused)
})

t.test('forged tokens are refused', async (t) => {
  const good = hs256({ sub: '42' })
  const [header = '', payload = '', signature = ''] = good.split('.')
  const asymmetric = createTokens({ publicKey: rsaPem, algorithms: [] })
  const der = rsa.publicKey.export({ type: 'spki', format: 'der' })
  const own = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ownJwk = own.publicKey.export({ format: 'jwk' })
  for (const [name, tokens, token] of [
    ['another secret', hmac, forge({ alg: 'HS256' }, { sub: '42' }, 'another secret')],
    ['an empty secret', hmac, forge({ alg: 'HS256' }, { sub: '42' }, '')],
    ['another payload', hmac, `${header}.${base64url({ sub: '1' })}.${signature}`],
    ['no signature', hmac, `${header}.${payload}.`],
    ['half a signature', hmac, good.slice(0, -20)],
    ['alg none', hmac, `${base64url({ alg: 'none' })}.${payload}.`],
    ['alg none with a signature', hmac, `${base64url({ alg: 'none' })}.${payload}.${signature}`],
    ['alg None', hmac, `${base64url({ alg: 'None' })}.${payload}.`],
    ['alg NONE', asymmetric, `${base64url({ alg: 'NONE' })}.${payload}.`],
    ['alg in lower case', hmac, forge({ alg: 'hs256' }, { sub: '42' })],
    ['no alg', hmac, forge({}, { sub: '42' })],
    ['alg an array', hmac, forge({ alg: ['HS256'] }, { sub: '42' })],
    ['alg __proto__', hmac, forge({ alg: '__proto__' }, { sub: '42' })],
    ['the public key as HMAC secret', asymmetric, forge({ alg: 'HS256' }, { sub: '42' }, rsaPem)],
    ['the same, trimmed', asymmetric, forge({ alg: 'HS256' }, { sub: '42' }, rsaPem.trim())],
    ['the same, DER', asymmetric, forge({ alg: 'HS256' }, { sub: '42' }, der)],
    ['a key of its own in the header', asymmetric, await sign(own.privateKey, { alg: 'RS256', jwk: ownJwk })],
    ['a certificate of its own', asymmetric, await sign(own.privateKey, { alg: 'RS256', x5c: ['AAAA'] })],
    [
      'another algorithm of the same key type',
      createTokens({ publicKey: rsaPem, algorithms: ['RS256'] }),
      await sign(rsa.privateKey, { alg: 'PS256' }),
    ],
    ['an unknown critical header', hmac, forge({ alg: 'HS256', crit: ['x'], x: 1 }, { sub: '42' })],
    ['an unencoded payload', hmac, forge({ alg: 'HS256', crit: ['b64'], b64: false }, { sub: '42' })],
  ] as const) {
    await t.rejects(tokens.verify(token), refused, name)
  }
})

t.test('times, audience and issuer are checked', async (t) => {
  const strict = createTokens({
    secret: SECRET,
    algorithms: ['HS256'],
    audience: 'push',
    issuer: 'https://app.example',
  })
  const right = { sub: '42', aud: 'push', iss: 'https://app.example' }
  t.match(await strict.verify(hs256({ ...right, exp: now() + 60, nbf: now() - 60 })), { id: '42' })
  t.match(await strict.verify(hs256({ ...right, aud: ['other', 'push'] })), { id: '42' })
  t.match(
    await hmac.verify(hs256({ sub: '42', exp: now() - 2, nbf: now() + 2 })),
    { id: '42' },
    'clocks may differ a little',
  )
  for (const [claims, message] of [
    [{ exp: now() - 60 }, /expired/],
    [{ exp: 0 }, /expired/],
    [{ nbf: now() + 60 }, /not valid yet/],
    [{ aud: 'other' }, /audience/],
    [{ aud: undefined }, /aud is missing/],
    [{ aud: {} }, /audience/],
    [{ iss: 'https://app.example/' }, /issuer/],
    [{ iss: undefined }, /iss is missing/],
    [{ iss: ['https://app.example'] }, /issuer/],
    [{ exp: '9999999999' }, /exp/],
    [{ nbf: '0' }, /nbf/],
    [{ exp: null }, /exp/],
  ] as const) {
    await t.rejects(
      strict.verify(hs256({ ...right, ...claims })),
      { ...refused, message },
      JSON.stringify(claims),
    )
  }
  await t.rejects(
    hmac.verify(forge({ alg: 'HS256' }, '{"sub":"42","exp":1e400}')),
    refused,
    'exp is infinite',
  )
})

t.test('an expired token is told from a wrong one: the client can get a new one', async (t) => {
  const errorOf = (token: string): Promise<unknown> => hmac.verify(token).catch((error: unknown) => error)
  t.match(await errorOf(hs256({ sub: '42', exp: now() - 60 })), { details: { reason: 'expired' } })
  t.match(await errorOf(forge({ alg: 'HS256' }, { sub: '42', exp: now() - 60 }, 'x')), { details: undefined })
})

t.test('claims of the wrong shape are refused', async (t) => {
  for (const payload of [
    {},
    { sub: '' },
    { sub: null },
    { sub: true },
    { sub: ['42'] },
    { sub: { id: 42 } },
    { sub: 4.2 },
    { sub: 'a\u0000b' },
    { sub: 'a\nb' },
    { sub: 'x'.repeat(256) },
    { sub: '42', channels: 'chat:*' },
    { sub: '42', channels: ['chat:*'] },
    { sub: '42', channels: { subscribe: 'chat:*' } },
    { sub: '42', channels: { subscribe: null } },
    { sub: '42', channels: { subscribe: [42] } },
    { sub: '42', channels: { subscribe: ['chat'] } },
    { sub: '42', channels: { subscribe: ['ch*:x'] } },
    { sub: '42', channels: { publish: ['chat:a b'] } },
    { sub: '42', channels: { publish: { 0: 'chat:a' } } },
  ]) {
    await t.rejects(hmac.verify(hs256(payload)), refused, JSON.stringify(payload).slice(0, 60))
  }
  await t.rejects(hmac.verify(hs256('{"sub":12345678901234567890}')), refused, 'a number that JSON rounds')
  await t.rejects(hmac.verify(hs256('{"sub":"\\ud800"}')), refused, 'half a surrogate pair')
  for (const payload of ['', 'null', '42', '"42"', '[]', '{"sub":', '\ufffe', '{"sub":"42"} x']) {
    await t.rejects(hmac.verify(hs256(payload)), refused, payload)
  }
  t.same(
    await hmac.verify(
      hs256('{"sub":"42","__proto__":{"info":"x"},"channels":{"__proto__":{"subscribe":["*"]}}}'),
    ),
    {
      id: '42',
      channels: {},
    },
  )
})

t.test('rubbish is refused as rubbish, whatever it is', async (t) => {
  const good = hs256({ sub: '42' })
  for (const token of [
    '',
    '.',
    '..',
    '...',
    'x',
    ' ',
    good + '.',
    `${good}.x`,
    `x.${good}`,
    ` ${good}`,
    `${good}\n`,
    'ключ.ключ.ключ',
    '\0',
    '[object Object]',
    '{"payload":""}',
    `${good.split('.')[0]}..x`,
    'a.b.c.d.e',
  ]) {
    await t.rejects(hmac.verify(token), refused, JSON.stringify(token.slice(0, 30)))
  }
  for (let index = 0; index < good.length; index++) {
    const other = good[index] === 'A' ? 'B' : 'A'
    const token = good.slice(0, index) + other + good.slice(index + 1)
    await t.rejects(hmac.verify(token), refused, `character ${index} changed`)
  }
  for (let round = 0; round < 300; round++) {
    const bytes = randomBytes(1 + (round % 90))
    const token = `${bytes.toString('base64url')}.${bytes.toString('latin1')}.${bytes.toString('base64url')}`
    await hmac.verify(token).then(
      () => t.fail(token),
      (error: unknown) =>
        error instanceof Error && 'code' in error && error.code === 'unauthenticated'
          ? undefined
          : t.fail(token),
    )
  }
})

t.test('a token over the limit is refused before anything is computed', async (t) => {
  const fits = hs256({ sub: '42', info: 'x'.repeat(5000) })
  const exceeds = hs256({ sub: '42', info: 'x'.repeat(7000) })
  t.ok(fits.length < MAX_TOKEN && exceeds.length > MAX_TOKEN)
  t.match(await hmac.verify(fits), { id: '42' })
  await t.rejects(hmac.verify(exceeds), { ...refused, message: /8192/ })
  await t.rejects(hmac.verify('x'.repeat(10_000_000)), refused)
})

t.test('without a key every token is refused with a sentence', async (t) => {
  for (const config of [null, { algorithms: ['HS256'] }]) {
    const tokens = createTokens(config)
    t.equal(tokens.configured, false)
    await t.rejects(tokens.verify(hs256({ sub: '42' })), {
      ...refused,
      message: /no way to authenticate is configured/,
    })
  }
  t.equal(hmac.configured, true)
})

t.test('keys that can not be used are refused at the start, with the key of the config', async (t) => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
    .publicKey.export({ type: 'spki', format: 'pem' })
    .toString()
  const curve = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
    .publicKey.export({ type: 'spki', format: 'pem' })
    .toString()
  const x25519 = generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
  for (const [config, key, message] of [
    [{ secret: '' }, 'secret', /empty/],
    [{ secret: rsaPem }, 'secret', /publicKey/],
    [{ publicKey: 'keys/public.pem' }, 'publicKey', /PEM/],
    [{ publicKey: '-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----' }, 'publicKey', /read/],
    [
      { publicKey: rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() },
      'publicKey',
      /private/,
    ],
    [{ publicKey: JSON.stringify(rsa.privateKey.export({ format: 'jwk' })) }, 'publicKey', /private/],
    [{ publicKey: '{"kty":"oct","k":"AAAA"}' }, 'publicKey', /symmetric/],
    [{ publicKey: '{"keys":[]}' }, 'publicKey', /set/],
    [{ publicKey: '{"kty":' }, 'publicKey', /JSON/],
    [{ publicKey: '{"kty":"RSA"}' }, 'publicKey', /read/],
    [{ publicKey: weak }, 'publicKey', /1024 bits/],
    [{ publicKey: curve }, 'publicKey', /secp256k1/],
    [{ publicKey: x25519 }, 'publicKey', /x25519/],
    [{ publicKey: rsaPem, algorithms: ['HS256', 'ES256'] }, 'algorithms', /RS256/],
    [{ secret: SECRET, algorithms: ['none'] }, 'algorithms', /HS256/],
    [{ jwksUrl: 'file:///etc/passwd' }, 'jwksUrl', /http/],
    [{ jwksUrl: 'rubbish' }, 'jwksUrl', /http/],
    [{ jwksUrl: 'https://a.example/', publicKey: rsaPem }, 'jwksUrl', /either/],
  ] as const) {
    const jwt: JwtConfig = { algorithms: [], ...config }
    try {
      createTokens(jwt)
      t.fail(`accepted ${key}`)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      t.equal(error.problems[0]?.key, `auth.jwt.${key}`)
      t.match(error.problems[0]?.message, message)
    }
  }
})
