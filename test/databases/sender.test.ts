import t from 'tap'
import { Intake } from '../../src/hub/intake.ts'
import type { Publisher, Submission } from '../../src/hub/publisher.ts'
import { defineSender } from '../../src/index.ts'
import type { Notification } from '../../src/sources/source.ts'
import { startParts } from '../transports/both.ts'

const route = ({ database }: Notification): string[] => ['messages:42', `common:${database}`]

/** What a sender's notification is published as, in a config of two databases. */
async function published(notification: Partial<Notification>): Promise<readonly string[]> {
  const { live: before, services } = await startParts(t, {
    ACTIONS: { messages: { sender: defineSender({ route }) } },
  })
  const { rules } = before
  const databases = { home: 'main', further: ['shop'] }
  const channels = new Map(rules.config.channels)
  channels.set('messages', { ...channels.get('messages')!, databases })
  const live = { rules: { ...rules, config: { ...rules.config, databases, channels } } }
  const sent: string[] = []
  const publisher = {
    publishAll: (all: readonly Submission[]) => {
      sent.push(...all.map(({ channel }) => channel))
      return all.map(() => null)
    },
  } as unknown as Publisher
  const intake = new Intake({ live, publisher, services })
  await intake.take({ source: 'amqp', name: 'messages', subsystem: 'messages', data: 1, ...notification })
  return sent
}

t.test('a sender’s channels are those of the database that it works for', async (t) => {
  t.same(await published({ source: 'postgres:shop', database: 'shop' }), ['messages:shop:42', 'common:shop'])
  t.same(await published({}), ['messages:main:42', 'common:main'], 'home, where nothing is said')
  t.same(await published({ headers: { database: 'shop' } }), ['messages:shop:42', 'common:shop'])
  for (const database of ['blog', 7]) {
    await t.rejects(published({ headers: { database } }), {
      code: 'invalid_input',
      message: /header database/,
    })
  }
})
