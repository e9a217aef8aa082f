/**
 * The publications of one row of `livemessage.outbox`, as SQL: columns `n`, `channel`, `data`. A row has one of them, or, without a
 * channel, all that one `publish_many` was given.
 */
export function publicationsOf(row: string): string {
  return `(
    SELECT 1::bigint AS n, ${row}.channel, ${row}.data WHERE ${row}.channel IS NOT NULL
    UNION ALL
    SELECT many.n, many.channel, many.data
    FROM ROWS FROM (
      json_array_elements_text(CASE WHEN ${row}.channel IS NULL THEN ${row}.data::json -> 'channels' END),
      json_array_elements_text(CASE WHEN ${row}.channel IS NULL THEN ${row}.data::json -> 'datas' END)
    ) WITH ORDINALITY AS many(channel, data, n)
  )`
}
