-- How many activities one owner's data has seen; shown by `otel-audit demo`.
--
-- port:       count
-- session:    views.sql
-- parameters: owner_id  VARCHAR
-- prunes:     row groups by the Bloom filter of owner_id.
SELECT count(*) FROM activity WHERE owner_id = $owner_id
