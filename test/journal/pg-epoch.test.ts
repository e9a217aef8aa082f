import t from 'tap'
import { contradictionOf, type Seen } from '../../src/journal/pg-epoch.ts'
import type { Identity, Look } from '../../src/journal/pg-store.ts'

const SERVER: Identity = { system: '1/2/3', timeline: 1, postmaster: '100', folder: '5' }

function look(changes: Partial<Look> = {}, found: Partial<Identity> = {}): Look {
  return {
    epoch: 'e',
    notifyData: true,
    stored: SERVER,
    found: { ...SERVER, ...found },
    lossy: false,
    head: 10,
    headTag: 't10',
    floor: 0,
    tags: ['t10'],
    ...changes,
  }
}

const SEEN: Seen = { epoch: 'e', head: 10, tags: new Map([[10, 't10']]) }

t.test('who was there goes by what it delivered, whatever happened to the server', (t) => {
  t.equal(contradictionOf(look(), SEEN), null)
  t.equal(contradictionOf(look({ head: 20 }, { timeline: 2, postmaster: '200', folder: '6' }), SEEN), null)
  t.equal(contradictionOf(look({ lossy: true }, { postmaster: '200' }), SEEN), null)
  t.match(contradictionOf(look({ head: 9, tags: [null] }), SEEN), /ends before/)
  t.match(contradictionOf(look({ head: 20, tags: ['other'] }), SEEN), /other publications/)
  t.match(contradictionOf(look({ head: 20, tags: [null] }), SEEN), /are gone/)
  t.match(contradictionOf(look({}, { system: '1/2/4' }), SEEN), /another database/)
  t.end()
})

t.test('what retention has deleted contradicts nothing, and proves nothing', (t) => {
  const swept = { head: 10, floor: 10, tags: [null] }
  t.equal(contradictionOf(look(swept), SEEN), null)
  t.match(contradictionOf(look(swept, { timeline: 2 }), SEEN), /promoted/)
  t.end()
})

t.test('where nobody was there, the server is believed as far as it can be', (t) => {
  t.equal(contradictionOf(look(), null), null)
  t.equal(contradictionOf(look({}, { postmaster: '200' }), null), null, 'a restart that loses nothing')
  t.match(contradictionOf(look({ lossy: true }, { postmaster: '200' }), null), /synchronous_commit/)
  t.match(contradictionOf(look({}, { postmaster: '200', folder: '6' }), null), /copy/)
  t.equal(contradictionOf(look({}, { folder: '6' }), null), null, 'a running server was not copied')
  t.match(contradictionOf(look({}, { timeline: 2 }), null), /promoted/)
  t.match(contradictionOf(look({}, { system: '9/2/3' }), null), /another server/)
  const unknown = { system: null, timeline: null, folder: null }
  t.equal(contradictionOf(look({}, unknown), null), null, 'what may not be asked is no difference')
  t.end()
})
