import t from 'tap'
import { connect } from '../support/client.ts'
import { PYTHON_DJANGO, PYTHON_PSYCOPG2, skipWithout } from '../support/packages.ts'
import { startDaemon } from '../support/daemon.ts'
import { startShop } from './shop.ts'
import { configOf, folderWith, PYTHON, readPage, run, serve } from './snippets.ts'

t.setTimeout(180_000)

const skip = skipWithout(PYTHON_DJANGO) || skipWithout(PYTHON_PSYCOPG2)

/** The rest of a Django project: what every one of them has. */
const PROJECT = {
  'settings.py': `
import os
from urllib.parse import urlparse
url = urlparse(os.environ['DATABASE_URL'])
SECRET_KEY = 'of the tests'
ALLOWED_HOSTS = ['127.0.0.1']
INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.sessions', 'shop.apps.Shop']
MIDDLEWARE = [
    'django.contrib.sessions.middleware.SessionMiddleware',
    'django.contrib.auth.middleware.AuthenticationMiddleware',
]
ROOT_URLCONF = 'shop.urls'
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
DATABASES = {'default': {
    'ENGINE': 'django.db.backends.postgresql', 'NAME': url.path[1:], 'USER': url.username, 'PASSWORD': url.password,
    'HOST': url.hostname, 'PORT': url.port}}
`,
  'manage.py': `
import os, sys
os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
`,
  'serve.py': `
import os
os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'
from wsgiref.simple_server import make_server
from django.core.wsgi import get_wsgi_application
server = make_server('127.0.0.1', 0, get_wsgi_application())
print('port', server.server_port, flush=True)
server.serve_forever()
`,
  'shop/__init__.py': '',
  'shop/apps.py': `
from django.apps import AppConfig
class Shop(AppConfig):
    name = 'shop'
    def ready(self):
        import shop.signals
`,
  'shop/models.py': `
from django.conf import settings
from django.db import models
class Order(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    status = models.CharField(max_length=20, default='new')
    total = models.IntegerField(default=1)
`,
  'shop/migrations/__init__.py': '',
  'shop/migrations/0001_initial.py': `
from django.conf import settings
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [migrations.CreateModel('Order', [
        ('id', models.BigAutoField(primary_key=True)),
        ('owner', models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)),
        ('status', models.CharField(max_length=20, default='new')),
        ('total', models.IntegerField(default=1))])]
`,
}

t.test(
  'docs/publishing/django.md: every block in a Django project, with its sessions',
  { skip },
  async (t) => {
    const { server, env, ownerUrl, listen } = await startShop(t)
    const page = await readPage('publishing/django.md')
    await run([
      'psql',
      '-X',
      '-q',
      ownerUrl,
      '-c',
      'grant livemessage_publisher to shop; grant create on schema public to shop',
    ])
    const files = page.marked.filter(({ language }) => language === 'python')
    const cwd = await folderWith(t, {
      ...PROJECT,
      ...Object.fromEntries(files.map(({ name, text }) => [name, text])),
    })
    const manage = (...args: string[]): Promise<string> => run([PYTHON, 'manage.py', ...args], { cwd, env })
    const shell = (script: string): Promise<string> => manage('shell', '-c', script)
    await manage('migrate', '-v', '0')
    const user = await shell(`
from django.contrib.auth.models import User
print(User.objects.create_user('ann').pk)`)
    const channel = `orders:${user.trim()}`
    const client = await listen(user.trim(), channel)
    const next = async (): Promise<unknown> => (await client.next({ type: 'message' }))['data']

    await shell(`
from shop.models import Order
Order.objects.create(owner_id=${user})
Order.objects.create(owner_id=${user}, total=0)`)
    t.match(await next(), { id: 1, status: 'new', new: true }, 'the signal')
    t.match(await next(), { id: 2 })

    const pay = `
from shop.orders import pay
pay(1)
try:
    pay(2)
except ValueError as error:
    print(error)`
    t.equal(await shell(pay), 'nothing to pay\n')
    // The signal, the view's own line and, at the end of the statement, the trigger.
    const said = [await next(), await next(), await next()]
    t.same(
      said.filter((data) => JSON.stringify(data).includes('paid')).length,
      3,
      `three ways: ${JSON.stringify(said)}`,
    )
    await shell("from shop.models import Order; Order.objects.filter(pk=2).update(status='sent')")
    t.same(
      await next(),
      { id: 2, status: 'sent' },
      'the trigger sees what sends no signal; nothing of pay(2)',
    )
    t.same(client.rest('message'), [])

    t.test('sessions', async (t) => {
      const cookie = await shell(`
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
user = User.objects.get(username='ann')
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = user.pk
session[BACKEND_SESSION_KEY] = 'django.contrib.auth.backends.ModelBackend'
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)`)
      const django = await serve(t, [PYTHON, 'serve.py'], { cwd, env })
      const config = await configOf(t, page.snippet('config'), {
        'postgres://livemessage@localhost/shop': ownerUrl,
        '127.0.0.1:8000': `127.0.0.1:${django.port}`,
      })
      const daemon = await startDaemon(t, config)
      const known = await connect(t, daemon, { headers: { Cookie: `sessionid=${cookie.trim()}; other=1` } })
      t.match(known.welcome, { user: user.trim() })
      t.match(await known.subscribe(channel), { type: 'subscribed' })
      t.match(await known.ask({ type: 'subscribe', channel: 'orders:999' }), { code: 'forbidden' })
      await shell("from shop.models import Order; Order.objects.filter(pk=1).update(status='shipped')")
      t.match(await known.next({ type: 'message' }), { data: { id: 1, status: 'shipped' } })
      const stranger = await connect(t, daemon, { headers: { Cookie: 'sessionid=forged' } })
      t.match(stranger.welcome, { user: null })
      t.match(await stranger.ask({ type: 'subscribe', channel }), { type: 'error' })
    })
    await server.psql('SELECT 1')
  },
)
