-- The condition that every question shares; other statements take it in with a line `-- include matching.sql`.
--
-- port:       every read of ActivityLogReader (Filter.matches is the same rule in Python)
-- session:    record_columns  MAP  columns by Parquet field id, so that files of all versions read alike
-- parameters: files           VARCHAR[]  the files to read: maximal, each row in one of them
--             actor_id, owner_id, entity_type, entity_id, action, outcome, actor_type, tenant_id, request_id,
--             session_id, on_behalf_of, trace_id   VARCHAR  null: does not matter
--             since_us, until_us            BIGINT  us since 1970, half open; null: no bound
--             first_index, last_index       BIGINT  log_index, both ends inclusive; null: no bound
-- prunes:     `$x IS NULL OR c = $x` folds to `c = $x` or to nothing before the files are opened. Then row groups fall
--             out by Bloom filter (record_id, actor_id, owner_id, entity_id) and by statistics (log_index,
--             occurred_at, and whatever else has a narrow span).
FROM read_parquet($files, schema = getvariable('record_columns'), hive_partitioning = false)
WHERE ($actor_id IS NULL OR actor_id = $actor_id)
  AND ($owner_id IS NULL OR owner_id = $owner_id)
  AND ($entity_id IS NULL OR entity_id = $entity_id)
  -- A type without an id refers to nothing, so it is no entity.
  AND ($entity_type IS NULL OR (entity_type = $entity_type AND entity_id IS NOT NULL))
  AND ($action IS NULL OR action = $action)
  AND ($outcome IS NULL OR CASE WHEN $outcome = 'unknown' THEN outcome IS NULL OR outcome NOT IN ('success', 'failure')
                                ELSE outcome = $outcome END)
  AND ($actor_type IS NULL OR CASE WHEN $actor_type = 'user' THEN actor_type IS NULL OR actor_type = 'user'
                                   ELSE actor_type = $actor_type END)
  AND ($tenant_id IS NULL OR tenant_id = $tenant_id)
  AND ($request_id IS NULL OR request_id = $request_id)
  AND ($session_id IS NULL OR session_id = $session_id)
  AND ($on_behalf_of IS NULL OR on_behalf_of = $on_behalf_of)
  AND ($trace_id IS NULL OR trace_id = $trace_id)
  AND ($since_us IS NULL OR occurred_at >= make_timestamptz($since_us::BIGINT))
  AND ($until_us IS NULL OR occurred_at < make_timestamptz($until_us::BIGINT))
  AND ($first_index IS NULL OR log_index >= $first_index)
  AND ($last_index IS NULL OR log_index <= $last_index)
