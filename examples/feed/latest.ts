import { defineAction } from 'livemessages'
import { fields, text, whole } from 'livemessages/actions/input'

/** The table, and the trigger that makes a live feed of it: no line of code runs for an insert but PostgreSQL's own. */
const tables = {
  component: 'feed',
  migrations: [
    {
      version: 1,
      name: 'article',
      sql: `
CREATE SCHEMA feed;
CREATE TABLE feed.article (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text NOT NULL,
  title text NOT NULL
);
CREATE TRIGGER live AFTER INSERT OR UPDATE ON feed.article
  FOR EACH ROW EXECUTE FUNCTION livemessage.publish_row('feed:{topic}', 'id', 'title');`,
    },
  ],
}

/** The newest articles of a topic, for a page that opens: `{ topic, limit }`. */
export default defineAction({
  migrations: tables,
  input: fields({ topic: text(100), limit: whole(1, 100, 20) }),
  async handle({ topic, limit }, { db }) {
    const { rows } = await db.query<{ id: number; title: string }>(
      'SELECT id::float8 AS id, title FROM feed.article WHERE topic = $1 ORDER BY article.id DESC LIMIT $2',
      [topic, limit],
    )
    return rows
  },
})
