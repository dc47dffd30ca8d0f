-- The activity log in plain SQL. From the top of the repository, with the DuckDB command line (1.5 or later):
--
--     duckdb < examples/with_sql.sql
--
-- or, without it, one question at a time: otel-audit sql "SELECT ..." --data demo-data

SET VARIABLE data = 'demo-data';
.read query/views.sql

-- The history of one thing, newest first.
SELECT occurred_at, action, actor_id, metadata->>'title' AS title
FROM by_entity('Task', '42')
LIMIT 10;

-- Who is busiest.
SELECT actor_id, any_value(actor_name) AS name, count(*) AS activities
FROM activity
GROUP BY actor_id
ORDER BY activities DESC, actor_id
LIMIT 10;

-- What failed this week, and why.
SELECT occurred_at, actor_id, action, entity_type, entity_id, reason
FROM activity
WHERE outcome = 'failure' AND occurred_at >= now() - INTERVAL 7 DAY
ORDER BY occurred_at DESC
LIMIT 50;

-- Activities over time, as bars.
SELECT time_bucket(INTERVAL 1 DAY, occurred_at)::DATE AS day,
       count(*) AS activities,
       bar(count(*), 0, max(count(*)) OVER (), 40) AS chart
FROM activity
GROUP BY day
ORDER BY day;

-- Into metadata: the keys in use, and how often.
SELECT key, count(*) AS records
FROM (SELECT unnest(json_keys(metadata)) AS key FROM activity)
GROUP BY key
ORDER BY records DESC, key;

-- What was changed from what to what.
SELECT occurred_at, actor_id, entity_id, field, changes->field->>0 AS old, changes->field->>1 AS new
FROM (SELECT *, unnest(json_keys(changes)) AS field FROM activity WHERE changes IS NOT NULL)
ORDER BY occurred_at DESC
LIMIT 20;

-- One trace, in order.
SELECT occurred_at, service_name, actor_id, action, entity_id
FROM activity
WHERE trace_id = '0af7651916cd43dd8448eb211c80319c'
ORDER BY occurred_at;

-- Was anything late: the time between happening and being committed.
SELECT quantile_cont(epoch_us(recorded_at) - epoch_us(occurred_at), [0.5, 0.99]) AS delay_us
FROM activity;

-- What is held in quarantine.
SELECT recorded_at, received_from, reason
FROM quarantine
ORDER BY recorded_at DESC
LIMIT 20;

-- What producers sent and the archive does not have, per stream.
SELECT stream_id, service_name, state, emitted, archived, missing_count, missing, last_seen
FROM completeness
WHERE missing_count > 0 OR awaited > 0
ORDER BY last_seen DESC;

-- An hour later: a new list of files, then ask again.
.read query/files.sql
SELECT count(*) AS activities FROM activity;
