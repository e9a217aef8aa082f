import t from 'tap'
import { cookieOf, parseCookies } from '../../src/auth/cookies.ts'

t.test('cookies are read as browsers send them', async (t) => {
  t.same(
    { ...parseCookies('a=1; b=two%20words;c="quoted" ; d=x=y; e=; flag; =nameless; bad=%E0%A4%A') },
    {
      a: '1',
      b: 'two words',
      c: 'quoted',
      d: 'x=y',
      e: '',
      bad: '%E0%A4%A',
    },
  )
  t.same({ ...parseCookies('') }, {})
  t.same({ ...parseCookies('a=first; a=second') }, { a: 'first' })
})

t.test('no name reaches a prototype', async (t) => {
  const cookies = parseCookies('__proto__=evil; constructor=evil; toString=evil')
  t.same(Object.keys(cookies), ['__proto__', 'constructor', 'toString'])
  t.equal(Object.getPrototypeOf(cookies), null)
  t.equal(parseCookies('a=1')['toString'], undefined)
  t.notOk('evil' in {})
})

t.test('one cookie is found without the rest, whole names only', async (t) => {
  const header = 'xtoken=no; token=yes%21; token=later; session=s'
  t.equal(cookieOf(header, 'token'), 'yes!')
  t.equal(cookieOf(header, 'session'), 's')
  t.equal(cookieOf(header, 'toke'), null)
  t.equal(cookieOf('', 'token'), null)
})

t.test('a header of any length costs little, and no cookie is cut in two', async (t) => {
  const many = Array.from({ length: 5000 }, (_, index) => `n${index}=v`).join(';')
  t.equal(Object.keys(parseCookies(many)).length, 128)
  t.same({ ...parseCookies(`a=1; long=${'x'.repeat(20_000)}; b=2`) }, { a: '1' })
  t.same({ ...parseCookies(`a=1; long=${'x'.repeat(20_000)}`) }, { a: '1' })
  t.same({ ...parseCookies(';'.repeat(100_000)) }, {})
})
