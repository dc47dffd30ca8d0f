-- A new list of files for a session that ran views.sql: run it when the list is older than 60 seconds.
--
-- session: data              VARCHAR    the data folder, absolute or relative to where DuckDB runs
--          files             VARCHAR[]  set here: what the view `activity` reads
--          quarantine_files  VARCHAR[]  set here: what the view `quarantine` reads
--          stream_files      VARCHAR[]  set here: what the view `stream_notes` reads
-- errors:  a missing or overlapping range. Run it again: files may have moved while they were listed. If it stays, run
--          `otel-audit status --check`.

-- What must be there comes first, for it is never ahead of the files: the high-water marks of the logs, and the ranges of
-- rows that are accepted as lost.
SET VARIABLE floor_listed = (SELECT list(file) FROM glob(getvariable('data') || '/log/floor.json'));
SET VARIABLE marks = (
    SELECT marks FROM query(CASE
        WHEN len(coalesce(getvariable('floor_listed'), [])) = 0 THEN 'SELECT NULL::JSON AS marks'
        ELSE 'SELECT (content::JSON)->''logs'' AS marks FROM read_text(getvariable(''floor_listed''))'
    END)
);
SET VARIABLE lost = (SELECT list(file) FROM glob(getvariable('data') || '/log/lost/*.json'));

-- The files as of now: hot first, then the archive, so that a file sealed in between is seen twice and never missed.
-- The notes about streams come before the activities: a note is written after the records it speaks of, so what a listed
-- one speaks of is listed too.
SET VARIABLE hot_listed = (SELECT list(file) FROM glob(getvariable('data') || '/streams/hot/*.parquet'));
SET VARIABLE sealed_listed = (SELECT list(file) FROM glob(getvariable('data') || '/streams/archive/date=*/*.parquet'));
SET VARIABLE stream_files = files_to_read(getvariable('hot_listed'), getvariable('sealed_listed'),
    marks := getvariable('marks')->'streams', lost := getvariable('lost'));
SET VARIABLE hot_listed = (SELECT list(file) FROM glob(getvariable('data') || '/hot/*.parquet'));
SET VARIABLE sealed_listed = (SELECT list(file) FROM glob(getvariable('data') || '/archive/date=*/*.parquet'));
SET VARIABLE files = files_to_read(getvariable('hot_listed'), getvariable('sealed_listed'),
    marks := getvariable('marks')->'activity', lost := getvariable('lost'));
SET VARIABLE hot_listed = (SELECT list(file) FROM glob(getvariable('data') || '/quarantine/hot/*.parquet'));
SET VARIABLE sealed_listed = (SELECT list(file) FROM glob(getvariable('data') || '/quarantine/archive/date=*/*.parquet'));
SET VARIABLE quarantine_files = files_to_read(getvariable('hot_listed'), getvariable('sealed_listed'),
    marks := getvariable('marks')->'quarantine', lost := getvariable('lost'));
