import { spawnSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { signatureHeaders, verifyWebhook } from '../../src/signals/signature.ts'

const SECRET = 'a secret of sixteen characters'
const body = '{"signals":[{"id":"n-1","name":"connect","time":1,"node":"n"}]}'
const timestamp = 1_700_000_000
const now = timestamp * 1000
const headers = signatureHeaders({ id: 'sig_1', timestamp, body }, [SECRET])

void t.test('a signature is that of Standard Webhooks, which any of its libraries can verify', async (t) => {
  const key = Buffer.from('the bytes of a key').toString('base64')
  const signed = signatureHeaders({ id: 'sig_1', timestamp, body }, [`whsec_${key}`, SECRET])
  const expected = (secret: Buffer | string): string =>
    `v1,${createHmac('sha256', secret).update(`sig_1.${timestamp}.${body}`).digest('base64')}`
  t.equal(signed['webhook-signature'], `${expected(Buffer.from('the bytes of a key'))} ${expected(SECRET)}`)
  for (const secret of [`whsec_${key}`, SECRET, ['another secret', SECRET]])
    t.match(verifyWebhook({ headers: signed, body }, secret, { now }), [{ name: 'connect' }])
  t.match(verifyWebhook({ headers: new Headers(signed), body: Buffer.from(body) }, SECRET, { now }), [
    { id: 'n-1' },
  ])
})

void t.test("a body, an id, a time or a secret that is another one's is refused", async (t) => {
  const refused = { code: 'WEBHOOK_REFUSED' }
  const wrong: Record<string, () => unknown> = {
    body: () => verifyWebhook({ headers, body: body.replace('connect', 'subscribe') }, SECRET, { now }),
    id: () => verifyWebhook({ headers: { ...headers, 'webhook-id': 'sig_2' }, body }, SECRET, { now }),
    secret: () => verifyWebhook({ headers, body }, 'another secret of the same length', { now }),
    'no secret': () => verifyWebhook({ headers, body }, [], { now }),
    version: () =>
      verifyWebhook(
        {
          headers: { ...headers, 'webhook-signature': headers['webhook-signature']!.replace('v1,', 'v2,') },
          body,
        },
        SECRET,
        { now },
      ),
    empty: () =>
      verifyWebhook({ headers: { ...headers, 'webhook-signature': 'v1,' }, body }, SECRET, { now }),
    missing: () => verifyWebhook({ headers: {}, body }, SECRET, { now }),
    old: () => verifyWebhook({ headers, body }, SECRET, { now: now + 301_000 }),
    future: () => verifyWebhook({ headers, body }, SECRET, { now: now - 301_000 }),
    'no time': () =>
      verifyWebhook({ headers: { ...headers, 'webhook-timestamp': 'NaN' }, body }, SECRET, { now }),
  }
  for (const [name, verify] of Object.entries(wrong)) t.throws(verify, refused, name)
})

const PYTHON = spawnSync('python3', ['--version']).status === 0

void t.test(
  "the docs' receiver in Python takes what was signed, and nothing else",
  { skip: PYTHON ? false : 'there is no python3 here' },
  async (t) => {
    const docs = await readFile(path.join(import.meta.dirname, '../../docs/signals.md'), 'utf8')
    const snippet = /```python\n([^]*?)```/.exec(docs)?.[1] ?? ''
    const run = (request: object): string => {
      const script = `${snippet}
import sys
request = json.load(sys.stdin)
try:
    print(verify_webhook(request["headers"], request["body"].encode(), request["secret"])[0]["name"])
except ValueError as error:
    print(error)
`
      const { stdout, stderr } = spawnSync('python3', ['-c', script], { input: JSON.stringify(request) })
      return `${stdout.toString()}${stderr.toString()}`.trim()
    }
    const fresh = Math.floor(Date.now() / 1000)
    for (const secret of [SECRET, `whsec_${Buffer.from('the bytes of a key').toString('base64')}`]) {
      const signed = signatureHeaders({ id: 'sig_1', timestamp: fresh, body }, [
        'an older one, still known',
        secret,
      ])
      t.equal(run({ headers: signed, body, secret }), 'connect')
      t.match(run({ headers: signed, body: `${body} `, secret }), 'no signature')
    }
    t.match(run({ headers, body, secret: SECRET }), 'too old')
  },
)
