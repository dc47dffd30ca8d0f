-- Who did most to one owner's data; shown by `otel-audit demo`.
--
-- port:       count_by
-- session:    views.sql
-- parameters: owner_id  VARCHAR
--             top       BIGINT   how many
-- prunes:     row groups by the Bloom filter of owner_id.
SELECT actor_id, count(*) AS activities
FROM activity
WHERE owner_id = $owner_id
GROUP BY actor_id
ORDER BY activities DESC, actor_id
LIMIT $top
