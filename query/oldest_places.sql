-- Where the oldest matching records stand; records_at.sql then reads those alone.
--
-- port:       get_by_action, search, iter_records, where no selective condition is given
-- parameters: those of oldest.sql
-- prunes:     as oldest.sql. Reads the columns of the conditions, occurred_at, record_id and log_index: of a wide table
--             about a tenth.
SELECT epoch_us(occurred_at) AS occurred_us,
       record_id,
       log_index
-- include matching.sql
  AND ($beyond_us IS NULL
       OR (occurred_at >= make_timestamptz($beyond_us::BIGINT)
           AND (occurred_at > make_timestamptz($beyond_us::BIGINT) OR record_id > $beyond_id)))
ORDER BY occurred_at ASC, record_id ASC
LIMIT $most
