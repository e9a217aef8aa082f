import type { Migration } from '../migration.ts'

/** Signals on their way, and what must be known of nodes for them: who is connected to each, and to which channels. */
export const signals: Migration = {
  version: 4,
  name: 'signals',
  sql: `
-- Processes that tell signals. Whoever runs nothing for a while has a beat that stands still, and is marked as lost: what
-- it notes from then on is refused, and it begins anew under another name.
CREATE TABLE livemessage.node (
  node text COLLATE "C" PRIMARY KEY,
  -- The last batch of it that was noted.
  batch bigint NOT NULL DEFAULT 0,
  beat bigint NOT NULL DEFAULT 0,
  lost boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- Connections, where somebody wants to hear of their end. Not unlogged: after a crash of the server each connect that was
-- told must still find its disconnect.
CREATE TABLE livemessage.roster (
  node text COLLATE "C" NOT NULL,
  session text COLLATE "C" NOT NULL,
  -- JSON, both
  detail text NOT NULL,
  channels text NOT NULL,
  PRIMARY KEY (node, session)
);

-- The channels that somebody is on, and the nodes where.
CREATE TABLE livemessage.occupied (
  channel text COLLATE "C" PRIMARY KEY,
  nodes text[] COLLATE "C" NOT NULL
);

-- What is to be told, in the order of each target.
CREATE TABLE livemessage.signal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target text COLLATE "C" NOT NULL,
  body text NOT NULL,
  made timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON livemessage.signal (target, id);

-- A node's first or last one on each channel: gives the numbers of those that were the first or last of all nodes. In the
-- channels' order, so that two nodes never wait for one another.
CREATE FUNCTION livemessage.occupy(p_node text, p_channels text[], p_ups boolean[]) RETURNS SETOF int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  move record;
  hit boolean;
  left_over text[];
BEGIN
  FOR move IN
    SELECT m.channel, m.up, m.n::int AS n
    FROM unnest(p_channels, p_ups) WITH ORDINALITY AS m(channel, up, n)
    ORDER BY m.channel COLLATE "C", m.n
  LOOP
    IF move.up THEN
      INSERT INTO livemessage.occupied AS o (channel, nodes) VALUES (move.channel, ARRAY[p_node])
      ON CONFLICT (channel) DO UPDATE
        SET nodes = CASE WHEN p_node = ANY (o.nodes) THEN o.nodes ELSE o.nodes || p_node END
      -- Of a row that was not there before.
      RETURNING o.xmax = 0 INTO hit;
    ELSE
      hit := false;
      UPDATE livemessage.occupied AS o SET nodes = array_remove(o.nodes, p_node)
      WHERE o.channel = move.channel AND p_node = ANY (o.nodes)
      RETURNING o.nodes INTO left_over;
      IF FOUND AND cardinality(left_over) = 0 THEN
        DELETE FROM livemessage.occupied AS o WHERE o.channel = move.channel;
        hit := true;
      END IF;
    END IF;
    IF hit THEN
      RETURN NEXT move.n;
    END IF;
  END LOOP;
END
$fn$;

-- Notes what happened at a node, all of it or nothing: who came and went, and what is to be told of it. p_moves: of each
-- thing to be told the number of the channel's move that it depends on, or null. 'known': it was noted before.
-- 'lost': the node is thought to be gone.
CREATE FUNCTION livemessage.note(
  p_node text, p_batch bigint,
  p_gone text[],
  p_sessions text[], p_details text[], p_subscriptions text[],
  p_channels text[], p_ups boolean[],
  p_targets text[], p_bodies text[], p_moves int[]
) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $fn$
DECLARE
  hits int[] := '{}';
BEGIN
  IF p_batch = 1 THEN
    INSERT INTO livemessage.node (node) VALUES (p_node) ON CONFLICT (node) DO NOTHING;
  END IF;
  UPDATE livemessage.node AS n SET batch = p_batch, beat = n.beat + 1
  WHERE n.node = p_node AND NOT n.lost AND n.batch < p_batch;
  IF NOT FOUND THEN
    RETURN coalesce(
      (SELECT CASE WHEN n.lost THEN 'lost' ELSE 'known' END FROM livemessage.node AS n WHERE n.node = p_node), 'lost');
  END IF;
  IF cardinality(p_gone) > 0 THEN
    DELETE FROM livemessage.roster AS r WHERE r.node = p_node AND r.session = ANY (p_gone);
  END IF;
  IF cardinality(p_sessions) > 0 THEN
    INSERT INTO livemessage.roster (node, session, detail, channels)
    SELECT p_node, s.session, s.detail, s.channels
    FROM unnest(p_sessions, p_details, p_subscriptions) AS s(session, detail, channels)
    ON CONFLICT (node, session) DO UPDATE SET detail = EXCLUDED.detail, channels = EXCLUDED.channels;
  END IF;
  IF cardinality(p_channels) > 0 THEN
    hits := ARRAY(SELECT livemessage.occupy(p_node, p_channels, p_ups));
  END IF;
  IF cardinality(p_targets) > 0 THEN
    INSERT INTO livemessage.signal (target, body)
    SELECT t.target, t.body
    FROM unnest(p_targets, p_bodies, p_moves) WITH ORDINALITY AS t(target, body, move, n)
    WHERE t.move IS NULL OR t.move = ANY (hits)
    ORDER BY t.n;
  END IF;
  RETURN 'noted';
END
$fn$;

REVOKE ALL ON livemessage.node, livemessage.roster, livemessage.occupied, livemessage.signal FROM PUBLIC;
REVOKE ALL ON FUNCTION livemessage.occupy(text, text[], boolean[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION livemessage.note(
  text, bigint, text[], text[], text[], text[], text[], boolean[], text[], text[], int[]) FROM PUBLIC;
`,
}
