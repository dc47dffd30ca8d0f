-- All rows and all different ids, which are as many when nothing is doubled; shown by `otel-audit demo`.
--
-- port:       none
-- session:    views.sql
-- parameters: none
-- prunes:     nothing.
SELECT count(*), count(DISTINCT record_id) FROM activity
