/** 128 bytes, as the load generator's. */
export const DATA = `{"n": "0000000001", "p": "${'x'.repeat(73)}", "t": "000000000000000000"}`

/** What `pgbench` runs: a publication, and the least that could stand for it. */
export const PUBLISH = `SELECT livemessage.publish('kept:1', '${DATA}'::jsonb);`

/** A row of the same shape and a NOTIFY with the same text, in one statement; a number from a sequence for a position. */
export const INSERT_AND_NOTIFY = `WITH kept AS (
  INSERT INTO control.journal (channel, time, tag, data) VALUES ('kept:1', 0, 0, '${DATA}')
) SELECT pg_notify('control', 'kept:1 ${DATA}');`

/** The URL with server settings for its sessions. */
export function withSettings(url: string, settings: Readonly<Record<string, string | number>>): string {
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  if (options.length === 0) return url
  return `${url}?options=${encodeURIComponent(options.join(' '))}`
}
