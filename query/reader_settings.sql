-- How the reader's DuckDB is set up, once, before anything is read.
--
-- port:    every read of ActivityLogReader
-- session: data_dirs  VARCHAR[]  the data folder, and where symbolic links in it lead, each with a / at its end; nothing
--                               outside of them can be opened afterwards
SET GLOBAL TimeZone = 'UTC';

-- Files never change, so their footers need to be parsed only once (measured: 72 us instead of 186 us a file).
SET GLOBAL parquet_metadata_cache = true;

-- It reads the row groups of a found key twice (measured: 53 ms became 300 ms in DuckDB 1.5). Where few of many rows are
-- wanted, the reader looks for places first and for whole rows afterwards.
SET GLOBAL late_materialization_max_rows = 0;

SET GLOBAL allowed_directories = getvariable('data_dirs');
SET GLOBAL enable_external_access = false;
SET GLOBAL lock_configuration = true;
