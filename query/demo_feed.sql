-- What happened last to one owner's data, oldest of it first; shown by `otel-audit demo`.
--
-- port:       get_by_owner
-- session:    views.sql
-- parameters: owner_id  VARCHAR
--             latest    BIGINT   how many
-- prunes:     row groups by the Bloom filter of owner_id.
SELECT record_id
FROM (SELECT record_id, occurred_at FROM activity
      WHERE owner_id = $owner_id
      ORDER BY occurred_at DESC, record_id DESC LIMIT $latest)
ORDER BY occurred_at, record_id
