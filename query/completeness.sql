-- What became of the numbers that producers gave their records, per stream; longest unseen first.
--
-- port:       stream_reports
-- session:    completeness_columns  MAP  the columns needed here by Parquet field id; a file without one gives null for it
-- parameters: files       VARCHAR[]  the files of the log, maximal; more than one log is fine
--             note_files  VARCHAR[]  the files of the log of streams, maximal. DuckDB refuses an empty list: where there
--                                    are none, any files of the other kind do, for none of their rows has a number or
--                                    a kind
--             stream_ids  VARCHAR[]  only these streams; null: all
--             incomplete  BOOLEAN    only streams with numbers missing, awaited or implausible
-- prunes:     reads four columns of the rows; row groups by the statistics of stream_id where one stream is asked for.
WITH numbered AS (
    SELECT stream_id, stream_number, service_name, recorded_at
    FROM read_parquet($files, schema = getvariable('completeness_columns'), hive_partitioning = false)
    WHERE $stream_ids IS NULL OR list_contains($stream_ids::VARCHAR[], stream_id)
), notes AS (
    SELECT stream_id, kind, first_number, last_number, settled_reason, service_name, recorded_at
    FROM read_parquet($note_files, schema = getvariable('completeness_columns'), hive_partitioning = false)
    WHERE kind IS NOT NULL AND ($stream_ids IS NULL OR list_contains($stream_ids::VARCHAR[], stream_id))
),
-- include stream_totals.sql
SELECT stream_id,
       service_name,
       state,
       emitted,
       archived,
       quarantined,
       missing,
       missing_count,
       awaited,
       repeats,
       settled,
       settled_reason,
       implausible,
       epoch_us(last_seen) AS last_seen_us
FROM reports
WHERE NOT $incomplete OR missing_count > 0 OR awaited > 0 OR implausible IS NOT NULL
ORDER BY last_seen, stream_id
