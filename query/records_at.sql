-- The records with given indexes of the one log.
--
-- port:       get_by_action, search, iter_records, after newest_places.sql or oldest_places.sql
-- session:    record_columns, as in matching.sql
-- parameters: files    VARCHAR[]  files of one log that hold these indexes
--             indexes  BIGINT[]   log_index of each record
--             first_index, last_index  BIGINT  least and greatest of them
-- prunes:     files by the caller; row groups by the statistics of log_index.
SELECT
-- include record.sql
FROM read_parquet($files, schema = getvariable('record_columns'), hive_partitioning = false)
WHERE log_index BETWEEN $first_index AND $last_index
  AND list_contains($indexes::BIGINT[], log_index)
