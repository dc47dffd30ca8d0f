-- The columns of one record; other statements take them in with a line `-- include record.sql`.
--
-- port:    every read of ActivityLogReader that gives records (otel_audit.query.rows knows the order)
-- session: record_columns, as in matching.sql
-- prunes:  nothing; what is absent stays null here and is filled in when the record is built.
       epoch_us(occurred_at) AS occurred_us,
       record_id,
       log_index,
       actor_id,
       action,
       owner_id,
       entity_type,
       entity_id,
       metadata,
       actor_type,
       outcome,
       actor_name,
       entity_name,
       on_behalf_of,
       reason,
       changes,
       tenant_id,
       client_address,
       user_agent,
       session_id,
       request_id,
       trace_id,
       span_id,
       trace_flags
