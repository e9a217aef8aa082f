import { Client, Pool } from 'pg'
import { DEFAULTS } from '../src/config/defaults.ts'

/** The NOTIFY name that the control hears. */
export const CONTROL_NOTIFY = 'control'

export interface Kept {
  readonly position: string
  readonly data: string
}

/** What the control keeps, in a table of the journal's shape: plain inserts, plain selects, and no order but theirs. */
export interface ControlJournal {
  /** Resolves with the position once it is committed. What comes meanwhile goes together with the next insert. */
  append(channel: string, json: string): Promise<string>
  /** What came after: one query for each who asks. */
  since(channel: string, position: string): Promise<readonly Kept[]>
  /** One statement of an application, on a pool as large as the daemon's. */
  query(text: string, values: readonly unknown[]): Promise<{ readonly rowCount: number | null }>
}

interface Waiting {
  readonly channel: string
  readonly json: string
  resolve(position: string): void
  reject(error: unknown): void
}

/** As many as the daemon puts into one transaction, at most. */
const BATCH = 512

const INSERT = `
INSERT INTO control.journal (channel, time, tag, data)
SELECT d.channel, $1, $2, d.data FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS d(channel, data, n) ORDER BY d.n
RETURNING position`

const SINCE =
  'SELECT position, data FROM control.journal WHERE channel = $1 AND position > $2 ORDER BY position'

/** `onNotify`: hears `<channel> <json>` of those who insert and notify by themselves. */
export async function openJournal(
  url: string,
  onNotify: (channel: string, json: string) => void,
): Promise<ControlJournal> {
  const listener = new Client({ connectionString: url })
  await listener.connect()
  listener.on('notification', ({ payload = '' }) => {
    const space = payload.indexOf(' ')
    onNotify(payload.slice(0, space), payload.slice(space + 1))
  })
  await listener.query(`LISTEN ${CONTROL_NOTIFY}`)

  const pool = new Pool({ connectionString: url, max: 3, idleTimeoutMillis: 0 })
  const others = new Pool({
    connectionString: url,
    max: DEFAULTS.postgres.maxConnections,
    idleTimeoutMillis: 0,
  })
  let waiting: Waiting[] = []
  let inserting = false

  async function insert(): Promise<void> {
    inserting = true
    while (waiting.length > 0) {
      const batch = waiting.splice(0, BATCH)
      const tag = Math.floor(Math.random() * Number.MAX_SAFE_INTEGER)
      const channels = batch.map(({ channel }) => channel)
      const datas = batch.map(({ json }) => json)
      try {
        const values = [Date.now(), tag, channels, datas]
        const { rows } = await pool.query<{ position: string }>({ name: 'insert', text: INSERT, values })
        for (const [index, one] of batch.entries()) one.resolve(rows[index]!.position)
      } catch (error) {
        for (const one of batch) one.reject(error)
      }
    }
    inserting = false
  }

  return {
    append(channel, json) {
      return new Promise((resolve, reject) => {
        waiting.push({ channel, json, resolve, reject })
        if (!inserting) void insert()
      })
    },
    async since(channel, position) {
      const { rows } = await pool.query<Kept>({ name: 'since', text: SINCE, values: [channel, position] })
      return rows
    },
    query: (text, values) => others.query(text, [...values]),
  }
}
