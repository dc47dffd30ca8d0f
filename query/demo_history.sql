-- The newest activities of one file, oldest of them first; shown by `otel-audit demo`.
--
-- port:       get_by_entity
-- session:    views.sql
-- parameters: path    VARCHAR  the entity's id
--             latest  BIGINT   how many
-- prunes:     row groups by the Bloom filter of entity_id.
SELECT record_id
FROM (SELECT record_id, occurred_at FROM activity
      WHERE entity_type = 'File' AND entity_id = $path
      ORDER BY occurred_at DESC, record_id DESC LIMIT $latest)
ORDER BY occurred_at, record_id
