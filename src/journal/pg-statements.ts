/* The journal's SQL; pg-store.ts runs it. */

export const LOOK = `
SELECT m.epoch, m.notify_data, m.system_identifier AS stored_system, m.timeline AS stored_timeline,
  extract(epoch FROM m.postmaster)::text AS stored_postmaster, m.folder AS stored_folder,
  i.system, i.timeline, extract(epoch FROM i.postmaster)::text AS postmaster, i.folder,
  current_setting('synchronous_commit') = 'off' AS lossy,
  newest.position AS newest, newest.tag AS newest_tag,
  coalesce((SELECT max(f.position) FROM livemessage.floor AS f), 0) AS floor,
  ARRAY(
    SELECT (SELECT j.tag::text FROM livemessage.journal AS j WHERE j.position = p.position)
    FROM unnest($1::bigint[]) WITH ORDINALITY AS p(position, n) ORDER BY p.n
  ) AS tags
FROM livemessage.meta AS m
CROSS JOIN livemessage.identity() AS i
LEFT JOIN LATERAL (
  SELECT j.position, j.tag FROM livemessage.journal AS j ORDER BY j.position DESC LIMIT 1
) AS newest ON true`

export const OBSERVE = `
UPDATE livemessage.meta SET system_identifier = $2, timeline = $3, postmaster = to_timestamp($4::numeric), folder = $5
WHERE epoch = $1
  AND (system_identifier, timeline, extract(epoch FROM postmaster)::numeric, folder) IS DISTINCT FROM ($2, $3::int, $4::numeric, $5)`

const COLUMNS = 'j.position, j.channel, j.time, j.tag, j.data, j.exclude, j.mark'

// At least one row comes whatever its size; the sum is over the lengths, for which a large value is not even read.
export const AFTER = `
SELECT (SELECT a.tag FROM livemessage.journal AS a WHERE a.position = $1) AS anchored, j.*
FROM (SELECT) AS one
LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT ${COLUMNS}, sum(octet_length(j.data)) OVER (ORDER BY j.position) AS total
    FROM (SELECT * FROM livemessage.journal WHERE position > $1 ORDER BY position LIMIT $2) AS j
  ) AS j
  WHERE j.total - octet_length(j.data) < $3
) AS j ON true
ORDER BY j.position`

export const BEFORE = `
SELECT NULL AS anchored, j.* FROM (
  SELECT ${COLUMNS}, sum(octet_length(j.data)) OVER (ORDER BY j.position DESC) AS total
  FROM (SELECT * FROM livemessage.journal WHERE position <= $1 ORDER BY position DESC LIMIT $2) AS j
) AS j
WHERE j.total - octet_length(j.data) < $3
ORDER BY j.position DESC`

export const APPEND = `
SELECT a.first, a.at, a.duplicates, (SELECT j.tag FROM livemessage.journal AS j WHERE j.position = $14) AS anchored
FROM livemessage.append($1, $2, $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::int[], $11, $12, $13) AS a`

export const FORGET_SOME = `
SELECT forgotten, until, upto, place, more FROM livemessage.forget_some($1, $2::bigint[], $3, $4, $5, $6)`

export const FORGET_QUEUED = 'SELECT livemessage.forget_queued($1) AS gone'

export const FORGET_TRACES = 'SELECT livemessage.forget_traces($1, $2::bigint[])'

/*
 * For each channel that is asked for: how far what is gone reaches (the floor, what is more than retention keeps, or the
 * first when it is too old), and its rows, without those where all are wanted and some are gone. The rows of one question
 * are merged, and cut where they would be too many bytes: of what was cut, the first row comes without its data.
 */
export const ANSWER = `
WITH ask AS (
  SELECT a.*, young.position AS young, g.gone, NOT a."left" AND coalesce(g.gone > a.after, false) AS lost
  FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::int[], $7::bigint[], $8::boolean[])
    WITH ORDINALITY AS u(request, name, part, after, "limit", keep, oldest, "left", ask)
  CROSS JOIN LATERAL (
    SELECT u.ask, u.request, u.name COLLATE "C" AS channel, u.part COLLATE "C" AS subsystem, u.after, u."limit", u.keep,
      u.oldest, u."left"
  ) AS a
  LEFT JOIN LATERAL (
    SELECT j.position FROM livemessage.journal AS j
    WHERE j.channel = a.channel AND j.position > a.after AND j.position <= $9
    ORDER BY j.position DESC OFFSET a.keep LIMIT 1
  ) AS surplus ON true
  LEFT JOIN LATERAL (
    SELECT j.position, j.time FROM livemessage.journal AS j
    WHERE j.channel = a.channel AND j.position > greatest(a.after, surplus.position) AND j.position <= $9
    ORDER BY j.position LIMIT 1
  ) AS eldest ON true
  LEFT JOIN LATERAL (
    SELECT j.position FROM livemessage.journal AS j
    WHERE a."left" AND j.channel = a.channel AND j.position >= eldest.position AND j.position <= $9
      AND j.time >= a.oldest
    ORDER BY j.position LIMIT 1
  ) AS young ON true
  CROSS JOIN LATERAL (
    SELECT greatest(
      (SELECT f.position FROM livemessage.floor AS f WHERE f.subsystem = a.subsystem),
      surplus.position,
      CASE WHEN eldest.time < a.oldest THEN eldest.position END
    ) AS gone
  ) AS g
), hit AS (
  SELECT a.ask, a.request, -j.position AS place, j.*
  FROM ask AS a
  CROSS JOIN LATERAL (
    SELECT ${COLUMNS}, octet_length(j.data) AS size FROM livemessage.journal AS j
    WHERE a.after IS NULL AND j.channel = a.channel AND j.position <= $9
    ORDER BY j.position DESC LIMIT least(a."limit", a.keep)
  ) AS j
  WHERE j.time >= a.oldest
  UNION ALL
  SELECT a.ask, a.request, j.position, j.*
  FROM ask AS a
  CROSS JOIN LATERAL (
    SELECT ${COLUMNS}, octet_length(j.data) AS size FROM livemessage.journal AS j
    WHERE j.channel = a.channel AND j.position >= CASE WHEN a."left" THEN a.young ELSE a.after + 1 END
      AND j.position <= $9
    ORDER BY j.position LIMIT a."limit"
  ) AS j
  WHERE NOT a.lost
), fit AS (
  SELECT hit.*, sum(size) OVER (PARTITION BY request ORDER BY place) - size < $10 AS fits,
    count(*) OVER (PARTITION BY request) AS hits, min(position) OVER (PARTITION BY ask) AS first
  FROM hit
)
SELECT a.ask::int, a.lost, a.gone, j.position, j.channel, j.time, j.tag, CASE WHEN j.fits THEN j.data END AS data,
  j.exclude, j.mark, j.hits, j.first,
  (SELECT t.tag FROM livemessage.journal AS t WHERE t.position = $11) AS anchored
FROM ask AS a
LEFT JOIN fit AS j ON j.ask = a.ask AND (j.fits OR j.position = j.first)
ORDER BY a.request, j.position`
