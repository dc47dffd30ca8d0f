-- Matching records per value of one field, most first, where several logs may hold the same one.
--
-- port:       count_by, for a folder with more than one log
-- parameters: those of matching.sql, and
--             field  VARCHAR  one of the names below
-- prunes:     as matching.sql; the CASE folds, so that of the fields only the one asked for is read, and record_id.
SELECT CASE $field
           WHEN 'action' THEN action
           WHEN 'actor_id' THEN actor_id
           WHEN 'actor_type' THEN coalesce(actor_type, 'user')
           WHEN 'owner_id' THEN owner_id
           WHEN 'entity_type' THEN if(entity_id IS NULL, NULL, entity_type)
           WHEN 'entity_id' THEN if(entity_type IS NULL, NULL, entity_id)
           WHEN 'outcome' THEN coalesce(outcome, 'unknown')
           WHEN 'tenant_id' THEN tenant_id
       END AS value,
       count(DISTINCT record_id) AS records
-- include matching.sql
GROUP BY value
ORDER BY records DESC, value NULLS LAST
