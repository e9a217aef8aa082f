import t from 'tap'
import { PYTHON_CELERY, PYTHON_PSYCOPG2, skipWithout } from '../support/packages.ts'
import { rabbitSkip } from '../support/rabbitmq.ts'
import { startShop } from './shop.ts'
import { folderWith, PYTHON, readPage, run, serve } from './snippets.ts'

t.setTimeout(180_000)

const skip = rabbitSkip() || skipWithout(PYTHON_CELERY) || skipWithout(PYTHON_PSYCOPG2)

t.test('docs/publishing/celery.md: a worker tells its progress by SQL and by AMQP', { skip }, async (t) => {
  const { env, ownerUrl, listen } = await startShop(t, {
    rabbit: true,
    config: {
      ACTIONS: { tasks: { all: './actions/tasks/all.ts', sender: './actions/tasks/sender.ts' } },
      channels: { tasks: { access: 'user', history: { count: 1000 } } },
    },
  })
  const page = await readPage('publishing/celery.md')
  await run(['psql', '-X', '-q', ownerUrl, '-c', 'grant livemessage_publisher to shop'])
  const cwd = await folderWith(t, {
    'jobs.py': page.snippet('jobs.py'),
    'live.py': page.snippet('live.py'),
    // A real worker, which says when it is ready.
    'worker.py': `
from celery.signals import worker_ready
from jobs import app
app.conf.worker_redirect_stdouts = False
worker_ready.connect(lambda **_: print('port 0', flush=True), weak=False)
app.worker_main(['worker', '--pool', 'solo', '--without-gossip', '--without-mingle', '-l', 'WARNING'])
`,
  })
  const client = await listen('42', 'tasks:42')
  const worker = await serve(t, [PYTHON, 'worker.py'], { cwd, env })
  const task = await run([PYTHON, '-c', "import jobs; print(jobs.start('42', 'Export', 4))"], { cwd, env })
  const id = Number(task)
  t.match(await client.next({ type: 'message' }), { data: { id, title: 'Export', status: 'queued' } })
  t.match(
    await client.next(({ data }) => (data as { status: string } | undefined)?.status === 'done'),
    { data: { id, progress: 100 } },
    'the end comes, whatever of the progress was conflated',
  )
  await worker.stop()
  t.equal(
    await run([PYTHON, '-c', "import jobs; print(jobs.call('task_progress', 999, 5))"], { cwd, env }),
    'False\n',
  )
  await run([PYTHON, '-c', "import live; live.publish('tasks', '42', {'id': 'by kombu'})"], { cwd, env })
  t.match(await client.next(({ data }) => (data as { id: unknown } | undefined)?.id === 'by kombu'), {
    type: 'message',
  })
})
