-- How many records match where several logs may hold the same one.
--
-- port:       count, for a folder with more than one log
-- parameters: those of matching.sql
-- prunes:     as matching.sql; reads record_id of every matching row.
SELECT count(DISTINCT record_id)
-- include matching.sql
