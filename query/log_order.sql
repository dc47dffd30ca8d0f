-- Matching records of one log in the order of commit.
--
-- port:       search and iter_records with after=
-- parameters: those of matching.sql, and
--             most  BIGINT  how many
-- prunes:     as matching.sql; first_index and last_index by the statistics of log_index.
SELECT
-- include record.sql
-- include matching.sql
ORDER BY log_index
LIMIT $most
