-- Activities of one owner's data over time; shown by `otel-audit demo`.
--
-- port:       count, once for each part of the time
-- session:    views.sql
-- parameters: owner_id  VARCHAR
--             unit      VARCHAR  hour, day, week, month, quarter, year or decade
-- prunes:     row groups by the Bloom filter of owner_id.
SELECT date_trunc($unit, occurred_at) AS beginning, count(*) AS activities
FROM activity
WHERE owner_id = $owner_id
GROUP BY beginning
ORDER BY beginning
