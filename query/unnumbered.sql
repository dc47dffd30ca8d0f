-- How many records there are, and how many of them carry no number and so cannot be shown to be complete.
--
-- port:       completeness
-- session:    completeness_columns  MAP  the columns needed here by Parquet field id
-- parameters: files  VARCHAR[]  the files of the log, maximal; more than one log is fine
-- prunes:     reads two columns.
SELECT count(*) AS records,
       count(*) FILTER (WHERE stream_id IS NULL OR stream_number IS NULL) AS unnumbered
FROM read_parquet($files, schema = getvariable('completeness_columns'), hive_partitioning = false)
