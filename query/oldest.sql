-- The oldest matching records, complete, past a place in the order (occurred_at, record_id).
--
-- port:       get_by_entity, get_by_actor, get_by_owner, get_by_action, search, iter_records
-- parameters: those of matching.sql, and
--             beyond_us  BIGINT   order key of the last record already given; null: from the start
--             beyond_id  VARCHAR  its record_id; null together with beyond_us
--             most       BIGINT   how many
-- prunes:     as matching.sql; beyond_us by the statistics of occurred_at. Fit for conditions that few rows of a row
--             group meet: all columns of every matching row are read. For others see oldest_places.sql.
SELECT
-- include record.sql
-- include matching.sql
  AND ($beyond_us IS NULL
       OR (occurred_at >= make_timestamptz($beyond_us::BIGINT)
           AND (occurred_at > make_timestamptz($beyond_us::BIGINT) OR record_id > $beyond_id)))
ORDER BY occurred_at ASC, record_id ASC
LIMIT $most
