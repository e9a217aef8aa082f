import t from 'tap'
import { createStreamJournal } from '../../src/journal/amqp-stream.ts'
import { rabbitSkip, startRabbit } from '../support/rabbitmq.ts'
import { until } from '../support/wait.ts'
import { recordLog } from '../sources/recorder.ts'
import { forgetContract } from './forget-contract.ts'
import { dataOf, streamNodes } from './stream-nodes.ts'

// A broker takes seconds to start.
t.setTimeout(240_000)

const skip = rabbitSkip()
if (skip) t.plan(0, skip)
else await suite()

async function suite(): Promise<void> {
  const rabbit = await startRabbit(t)
  const { fresh, make, ready } = streamNodes(rabbit)

  forgetContract(t, 'rabbitmq', (_t, { windowBytes }) => {
    let shift = 0
    const journal = createStreamJournal({
      url: rabbit.url,
      exchange: fresh(),
      windowBytes,
      retry: { minMs: 10, maxMs: 100 },
      log: recordLog().log,
      now: () => Date.now() + shift,
    })
    return Promise.resolve({
      journal,
      advance: (ms: number) => {
        shift += ms
      },
    })
  })

  void t.test('a node that reads the stream later holds to its tombstones', async (t) => {
    const exchange = fresh()
    const [one, two] = [make(t, exchange), make(t, exchange)]
    await Promise.all([one.start(), two.start()])
    await ready(one, two)
    const places = []
    for (const data of ['"1"', '"2"', '"3"']) {
      places.push(await one.append({ channel: 'chat:a', json: data }))
      await one.append({ channel: 'chat:b', json: data })
    }
    const { position } = await one.journal.forget({ channel: 'chat:a', positions: [places[1]!.position] })
    await one.journal.forget({ channel: 'chat:b' })
    await one.append({ channel: 'chat:b', json: '"4"' })
    await until('the other has read it', () => two.journal.head >= position + 1)
    const three = make(t, exchange)
    await three.start()
    await ready(three)
    await until('all have it all', () => [two, three].every((n) => n.journal.head === one.journal.head))
    for (const { journal } of [one, two, three]) {
      const { entries, lost } = await journal.since(['chat:a', 'chat:b'], 0, 10)
      t.same([entries.map(dataOf), lost], [['1', '3', '4'], []])
    }
  })
}
