import { $, command, element } from './dom.js'

/** Shows how to publish to this very daemon: what is there with a command to paste, what is not as such. */
export function showWays(about, parts) {
  const { folder, ways } = about
  $('folder').replaceChildren(' in ', element('code', {}, folder))
  $('ways').replaceChildren(
    sqlCard(about, parts.get('postgres')),
    amqpCard(about, parts.get('amqp')),
    httpCard(ways, parts.get('http')),
  )
}

/** A row for a user, by psql. */
export function insertCommand(about, user) {
  const values = `'${user}', 'psql', 'Hello', 'A row, on your screen.'`
  return psql(
    about,
    `insert into livemessage_messages.message (to_user, from_user, subject, text) values (${values})`,
  )
}

function sqlCard(about, state) {
  const title = 'SQL'
  const { sql } = about.ways
  if (sql === null) {
    return card(
      title,
      'off',
      'PostgreSQL',
      off('The config says', 'postgres: false', 'so there is no database to listen to.'),
    )
  }
  const publish =
    "select livemessage.publish('chat:general', jsonb_build_object('name', 'SQL', 'text', 'hello'))"
  const notify = `notify livemessages, '{"channel":"chat:general","data":{"name":"NOTIFY","text":"hello"}}'`
  return card(
    title,
    state,
    sql === 'embedded' ? 'PostgreSQL, the embedded one' : 'PostgreSQL',
    command(psql(about, publish), 'In a transaction: delivered on commit, gone on rollback.'),
    command(psql(about, notify), 'Bare, from whatever can NOTIFY:'),
  )
}

function amqpCard({ ways: { amqp }, config }, state) {
  const title = 'AMQP'
  if (amqp === null) {
    const way = off(
      'Start the daemon with',
      'LIVEMESSAGES_BROKER_URL=amqp://localhost',
      'or set broker.url in its config.',
    )
    return card(title, 'off', 'RabbitMQ', way)
  }
  const data = '{"name":"AMQP","text":"hello"}'
  const flag = config === null ? '' : ` -c ${quoted(config)}`
  const rabbit = `rabbitmqadmin publish exchange=${quoted(amqp)} routing_key=chat.general payload='${data}'`
  return card(
    title,
    state,
    'RabbitMQ',
    command(
      `LIVEMESSAGES_BROKER_URL=amqp://localhost npx livemessage publish chat:general '${data}' --amqp${flag}`,
      'Confirmed by the broker, whose URL is the one that the daemon was given.',
    ),
    command(rabbit, 'With any AMQP client, for example (this one needs the management plugin):'),
  )
}

function httpCard({ http }, state) {
  const data = '{"name":"HTTP","text":"hello"}'
  return card(
    'HTTP',
    state,
    'one POST',
    command(
      `curl '${http}/publish?channel=chat:general' -d '${data}'`,
      'From this machine no key is needed.',
    ),
    command(`npx livemessage publish chat:general '${data}' --url ${http}`, 'The same by the command line:'),
  )
}

function card(title, state = 'down', about, ...content) {
  const words = { up: 'listening', off: 'not configured' }
  return element(
    'article',
    { className: 'card way', 'data-state': state, 'aria-label': title },
    element(
      'div',
      { className: 'head' },
      element('h3', {}, title),
      element('span', { className: 'about' }, about),
      element('span', { className: 'chip' }, words[state] ?? state),
    ),
    ...content,
  )
}

function off(before, code, after) {
  return element('p', {}, before, ' ', element('code', {}, code), ', ', after)
}

function psql({ config }, sql) {
  const flag = config === null ? '' : ` -c ${quoted(config)}`
  // In double quotes, for SQL is full of single ones.
  return `npx livemessage psql${flag} -- -c "${sql.replaceAll(/["\\$`]/g, '\\$&')}"`
}

/** For a shell. */
function quoted(text) {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
