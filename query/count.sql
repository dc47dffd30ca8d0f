-- How many rows match: exact for one log, where every record stands once.
--
-- port:       count
-- parameters: those of matching.sql
-- prunes:     as matching.sql; without a condition nothing but footers is read.
SELECT count(*)
-- include matching.sql
