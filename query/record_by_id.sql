-- The record with an id; more than one row when several logs got the same record.
--
-- port:       get_by_id
-- session:    record_columns, as in matching.sql
-- parameters: files      VARCHAR[]  the files whose record_id span holds the id
--             record_id  VARCHAR
-- prunes:     row groups by Bloom filter and statistics of record_id.
SELECT
-- include record.sql
FROM read_parquet($files, schema = getvariable('record_columns'), hive_partitioning = false)
WHERE record_id = $record_id
