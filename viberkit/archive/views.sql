-- The schema of roles that only read, its functions, and the events as viberkit.EventLog reads them.
DROP SCHEMA IF EXISTS viberkit_masked CASCADE;
CREATE SCHEMA viberkit_masked;
-- As in viberkit.models.phone, but mask_numbers hides the beginning and the end of a number, too.
CREATE FUNCTION viberkit_masked.mask(number text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN length(bare) < 9 THEN left(bare, 2) || repeat('*', least(3, greatest(0, length(bare) - 2)))
  ELSE left(bare, 5) || '*****' || right(bare, 2) END
  FROM (SELECT regexp_replace(number, '[\s().\-/\u00a0\u2011\u2013]+', '', 'g') AS bare) AS digits $$;
CREATE FUNCTION viberkit_masked.mask_numbers(shown text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT regexp_replace(shown, '\+?\d[\d ().\-/]{7,}\d', '*****', 'g') $$;
-- The position of a state in the life cycle, as viberkit.models.states.rank.
CREATE FUNCTION viberkit_masked.rank(state text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(array_position(ARRAY['accepted', 'routed', 'dispatched', 'channel_failed', 'delivered', 'seen',
    'failed', 'expired', 'deleted', 'unknown'], state), 11) $$;
-- The rows of archive.events(), with instants as in a lake; viberkit/archive/events.py has the rules.
CREATE VIEW viberkit_masked.event_log AS
WITH periods AS (  -- of listening, as one where they overlap
  SELECT number, min(began_at) AS began_at, max(last_at) AS last_at FROM (
    SELECT *, count(*) FILTER (WHERE began_at > before) OVER (ORDER BY began_at, id) AS number FROM (
      SELECT *, max(last_at) OVER (ORDER BY began_at, id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) AS before
      FROM listening) AS ordered) AS numbered GROUP BY number),
reporting AS MATERIALIZED (  -- service ids for which final states were called back in a period
  SELECT DISTINCT m.service_id, number FROM events AS e JOIN messages AS m USING (message_id)
    JOIN periods ON received_at BETWEEN began_at AND last_at
  WHERE source = 'callback' AND e.state IN ('delivered', 'seen', 'failed', 'expired')),
polled AS (  -- states that only status responses without a time reported, and when they were entered at the latest
  SELECT DISTINCT ON (message_id, state) message_id, state, observed_at, channel, viberkit_masked.rank(state) AS rank,
    least(observed_at, (SELECT min(happened_at) FROM events AS e WHERE e.message_id = s.message_id
      AND viberkit_masked.rank(e.state) > viberkit_masked.rank(s.state) AND viberkit_masked.rank(e.state) < 9)) AS until
  FROM statuses AS s WHERE since = observed_at
    AND NOT EXISTS (SELECT FROM events AS e WHERE e.message_id = s.message_id AND e.state = s.state)
  ORDER BY message_id, state, observed_at),
observations AS (  -- the state of a message had at most this rank then; exact: it was entered then
  SELECT message_id, 0 AS rank, at, false AS exact FROM raw, unnest(ARRAY[first_seen, last_seen]) AS at
    WHERE kind = 'events' AND http_status BETWEEN 200 AND 299
  UNION ALL SELECT message_id, viberkit_masked.rank(state), at, false FROM statuses AS s, LATERAL (
    SELECT observed_at UNION ALL SELECT min(last_seen) FROM raw WHERE kind = 'status' AND message_id = s.message_id
      AND http_status BETWEEN 200 AND 299 AND first_seen = observed_at HAVING count(*) = 1) AS seen (at)
  UNION ALL SELECT message_id, viberkit_masked.rank(state), happened_at, true FROM events
  UNION ALL SELECT message_id, 0, sent_at, true FROM messages),
reported AS (
  SELECT message_id, state, happened_at, source, array_position(ARRAY['history', 'callback', 'status', 'send'], source)
    AS source_rank, channel, code, detail, received_at, naive, CAST(NULL AS bigint) AS not_before FROM events
  UNION ALL SELECT message_id, state, observed_at, 'status', 3, channel, NULL, NULL, observed_at, false,
    coalesce((SELECT max(at) FROM observations AS o WHERE o.message_id = p.message_id AND o.rank < p.rank
      AND (at < until OR exact AND at = until)), 0) FROM polled AS p),
merged AS (
  SELECT *, source_rank = min(source_rank) OVER event AS is_best,
    concat_ws('+', max(source) FILTER (WHERE source = 'history') OVER event,
      max(source) FILTER (WHERE source = 'callback') OVER event,
      max(source) FILTER (WHERE source = 'status') OVER event,
      max(source) FILTER (WHERE source = 'send') OVER event) AS sources,
    min(received_at) OVER event AS first_received, max(received_at) OVER message AS last_received,
    bool_or(source = 'callback') OVER message AS called
  FROM reported WINDOW message AS (PARTITION BY message_id), event AS (PARTITION BY message_id, state))
SELECT message_id, e.state, e.channel, code, viberkit_masked.mask_numbers(detail) AS detail, naive, sources AS source,
  rate_type, content_type, service_id, campaign, country, happened_at AS happened_us, first_received AS received_us,
  not_before AS not_before_us, CASE WHEN last_received > coalesce(last_at, observed_until) THEN last_received
    ELSE coalesce(last_at, observed_until) END AS observed_until_us
FROM merged AS e JOIN messages AS m USING (message_id)
  LEFT JOIN periods AS p ON observed_until BETWEEN began_at AND last_at AND (called OR EXISTS (
    SELECT FROM reporting AS r WHERE r.number = p.number AND r.service_id IS NOT DISTINCT FROM m.service_id))
WHERE is_best;
