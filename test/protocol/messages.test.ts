import t from 'tap'
import { encodeMessage, idOf, timeOf } from '../../src/protocol/encode.ts'

void t.test('id and time are cut out of a message object, whatever its data look like', async (t) => {
  const tricky = [
    'null',
    '"\\",\\"id\\":\\"e-9\\",\\"time\\":9}"',
    '{"id":"e-9","time":9}',
    '[{"time":9}]',
    '""',
  ]
  for (const json of tricky) {
    const journaled = encodeMessage('chat:a.b@c=d-e', 'e-41', json, 1_767_225_600_000)
    t.doesNotThrow(() => JSON.parse(journaled), json)
    t.equal(idOf(journaled), 'e-41', json)
    t.equal(timeOf(journaled), 1_767_225_600_000, json)
    const transient = encodeMessage('chat:a', null, json, 7)
    t.equal(idOf(transient), null, json)
    t.equal(timeOf(transient), 7, json)
  }
})
