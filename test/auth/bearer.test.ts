import t from 'tap'
import { bearerOf, tokenOf } from '../../src/auth/bearer.ts'

const nowhere = { authorization: '', query: '', cookies: '', cookieName: 'sid' }

t.test('a token is taken from the header, else from the query, else from the cookie', async (t) => {
  const everywhere = {
    authorization: 'Bearer h',
    query: 'channel=a%3Ab&token=q',
    cookies: 'sid=c',
    cookieName: 'sid',
  }
  t.same(tokenOf(everywhere), { token: 'h', from: 'header' })
  t.same(tokenOf({ ...everywhere, authorization: '' }), { token: 'q', from: 'query' })
  t.same(tokenOf({ ...everywhere, authorization: '', query: '' }), { token: 'c', from: 'cookie' })
  t.equal(tokenOf({ ...everywhere, authorization: '', query: '', cookieName: null }), null)
  t.equal(tokenOf(nowhere), null)
})

t.test('empty tokens are none, other parameters and schemes are no tokens', async (t) => {
  t.equal(tokenOf({ ...nowhere, authorization: 'Bearer ', query: 'token=', cookies: 'sid=' }), null)
  t.equal(tokenOf({ ...nowhere, query: 'mytoken=x&tokens=y' }), null)
  t.equal(tokenOf({ ...nowhere, authorization: 'Basic dTpw' }), null)
  t.same(tokenOf({ ...nowhere, query: 'token=a%2Eb&token=c' }), { token: 'a.b', from: 'query' })
  t.same(tokenOf({ ...nowhere, query: '%E0%A4%A=&token=x' }), { token: 'x', from: 'query' })
})

t.test('the scheme is Bearer in any case, apart by a space', async (t) => {
  t.equal(bearerOf('bearer abc'), 'abc')
  t.equal(bearerOf('BEARER   abc '), 'abc')
  t.equal(bearerOf('Bearerabc'), null)
  t.equal(bearerOf('Bearer'), null)
  t.equal(bearerOf('Bearerx abc'), null)
})
