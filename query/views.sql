-- An activity log in plain DuckDB (1.5 or later), in any client:
--
--     SET VARIABLE data = '/path/to/data';
--     .read query/views.sql
--     SELECT occurred_at, action, actor_id, metadata->>'title' FROM by_entity('Task', '42') LIMIT 10;
--
-- Views:  activity      every activity, one row each; `metadata` and `changes` are JSON
--         quarantine    records held because they are no valid activity, and not yet released or dropped
--         completeness  per producer's stream: which of the numbers it gave are here, missing, awaited, settled by an operator
--         stream_notes  what the collector noted of streams: repeats, quarantined numbers, what producers told
-- Macros: by_entity(type, id), by_actor(id), by_owner(id), by_action(action): newest first; ids as text, UUID or number
--
-- The views read a list of files made when this script runs. It is a SNAPSHOT, GOOD FOR 60 SECONDS: newer records are
-- not in it, and later its hot files may have been merged into others and be gone ("No files found"). For a new list:
--
--     .read query/files.sql
--
-- Times are shown in UTC. What a producer did not send reads as it does through the library: actor_type `user`,
-- outcome `unknown`, metadata `{}`.
--
-- session:  data  VARCHAR  the data folder, absolute or relative to where DuckDB runs; an empty one answers no rows
-- prunes:   conditions on record_id, actor_id, owner_id, entity_id by Bloom filter (write the id as text), on log_index
--           and occurred_at by statistics. A window function over the whole view would switch that off. Within a log
--           every record stands once; where logs of several collectors were put into one folder, the same record may
--           stand in two: filter first, then `SELECT DISTINCT ON (record_id)`.

SET TimeZone = 'UTC';

-- Columns by Parquet field id, so that files of all versions read alike: an older file gives null for a newer column.
SET VARIABLE activity_columns = MAP {
    1:  {name: 'log_index',               type: 'BIGINT', default_value: NULL},
    2:  {name: 'record_id',               type: 'VARCHAR', default_value: NULL},
    3:  {name: 'occurred_at',             type: 'TIMESTAMPTZ', default_value: NULL},
    4:  {name: 'time_unix_nano',          type: 'BIGINT', default_value: NULL},
    5:  {name: 'observed_time_unix_nano', type: 'BIGINT', default_value: NULL},
    6:  {name: 'recorded_at',             type: 'TIMESTAMPTZ', default_value: NULL},
    7:  {name: 'actor_type',              type: 'VARCHAR', default_value: NULL},
    8:  {name: 'actor_id',                type: 'VARCHAR', default_value: NULL},
    9:  {name: 'actor_name',              type: 'VARCHAR', default_value: NULL},
    10: {name: 'on_behalf_of',            type: 'VARCHAR', default_value: NULL},
    11: {name: 'owner_id',                type: 'VARCHAR', default_value: NULL},
    12: {name: 'action',                  type: 'VARCHAR', default_value: NULL},
    13: {name: 'outcome',                 type: 'VARCHAR', default_value: NULL},
    14: {name: 'reason',                  type: 'VARCHAR', default_value: NULL},
    15: {name: 'entity_type',             type: 'VARCHAR', default_value: NULL},
    16: {name: 'entity_id',               type: 'VARCHAR', default_value: NULL},
    17: {name: 'entity_name',             type: 'VARCHAR', default_value: NULL},
    18: {name: 'tenant_id',               type: 'VARCHAR', default_value: NULL},
    19: {name: 'metadata',                type: 'VARCHAR', default_value: NULL},
    20: {name: 'changes',                 type: 'VARCHAR', default_value: NULL},
    21: {name: 'client_address',          type: 'VARCHAR', default_value: NULL},
    22: {name: 'user_agent',              type: 'VARCHAR', default_value: NULL},
    23: {name: 'session_id',              type: 'VARCHAR', default_value: NULL},
    24: {name: 'request_id',              type: 'VARCHAR', default_value: NULL},
    25: {name: 'trace_id',                type: 'VARCHAR', default_value: NULL},
    26: {name: 'span_id',                 type: 'VARCHAR', default_value: NULL},
    27: {name: 'trace_flags',             type: 'BIGINT', default_value: NULL},
    28: {name: 'event_name',              type: 'VARCHAR', default_value: NULL},
    29: {name: 'service_name',            type: 'VARCHAR', default_value: NULL},
    30: {name: 'service_version',         type: 'VARCHAR', default_value: NULL},
    31: {name: 'service_instance_id',     type: 'VARCHAR', default_value: NULL},
    32: {name: 'deployment_environment',  type: 'VARCHAR', default_value: NULL},
    33: {name: 'stream_id',               type: 'VARCHAR', default_value: NULL},
    34: {name: 'stream_number',           type: 'BIGINT', default_value: NULL},
    35: {name: 'schema_version',          type: 'VARCHAR', default_value: NULL},
    36: {name: 'severity_number',         type: 'INTEGER', default_value: NULL},
    37: {name: 'severity_text',           type: 'VARCHAR', default_value: NULL},
    38: {name: 'body',                    type: 'VARCHAR', default_value: NULL},
    39: {name: 'attributes',              type: 'VARCHAR', default_value: NULL},
    40: {name: 'resource',                type: 'VARCHAR', default_value: NULL},
    41: {name: 'scope',                   type: 'VARCHAR', default_value: NULL},
    42: {name: 'received_from',           type: 'VARCHAR', default_value: NULL}
};

SET VARIABLE quarantine_columns = MAP {
    1:  {name: 'log_index',     type: 'BIGINT', default_value: NULL},
    2:  {name: 'record_id',     type: 'VARCHAR', default_value: NULL},
    6:  {name: 'recorded_at',   type: 'TIMESTAMPTZ', default_value: NULL},
    29: {name: 'service_name',  type: 'VARCHAR', default_value: NULL},
    42: {name: 'received_from', type: 'VARCHAR', default_value: NULL},
    50: {name: 'decision',      type: 'VARCHAR', default_value: NULL},
    51: {name: 'reason',        type: 'VARCHAR', default_value: NULL},
    52: {name: 'request',       type: 'BLOB', default_value: NULL},
    53: {name: 'request_bytes', type: 'BIGINT', default_value: NULL}
};

SET VARIABLE stream_columns = MAP {
    1:  {name: 'log_index',           type: 'BIGINT', default_value: NULL},
    6:  {name: 'recorded_at',         type: 'TIMESTAMPTZ', default_value: NULL},
    29: {name: 'service_name',        type: 'VARCHAR', default_value: NULL},
    31: {name: 'service_instance_id', type: 'VARCHAR', default_value: NULL},
    33: {name: 'stream_id',           type: 'VARCHAR', default_value: NULL},
    42: {name: 'received_from',       type: 'VARCHAR', default_value: NULL},
    60: {name: 'kind',                type: 'VARCHAR', default_value: NULL},
    61: {name: 'first_number',        type: 'BIGINT', default_value: NULL},
    62: {name: 'last_number',         type: 'BIGINT', default_value: NULL},
    63: {name: 'records',             type: 'BIGINT', default_value: NULL},
    64: {name: 'settled_reason',      type: 'VARCHAR', default_value: NULL}
};

-- Which of the listed files to read. A file's name is its range of the log, both ends inclusive; a merged (.m) or sealed
-- file hides those whose ranges lie inside its own. What is left must follow each other without overlap, and without hole
-- but for rows that are accepted as lost, up to the high-water mark. Latest first, for then `ORDER BY occurred_at DESC
-- LIMIT n` soon knows what it may pass over.
CREATE OR REPLACE TEMP MACRO files_to_read(hot, sealed, marks := NULL, lost := NULL) AS (
    WITH named AS (
        SELECT path,
               regexp_extract(path, '([0-9a-z]{16,64})-([0-9]{16})-([0-9]{16})(\.c|\.m|)\.parquet$',
                              ['log', 'first', 'last', 'stage']) AS name
        FROM unnest(coalesce(hot, []) || coalesce(sealed, [])) AS listed (path)
    ), ranged AS (
        SELECT path,
               name['log'] AS log,
               name['first']::BIGINT AS first_index,
               name['last']::BIGINT AS last_index,
               CASE name['stage'] WHEN '.c' THEN 0 WHEN '.m' THEN 1 ELSE 2 END AS stage
        FROM named
        WHERE name['log'] <> ''
    ), covered AS (
        SELECT *,
               max(CASE WHEN stage > 0 THEN last_index END) OVER (
                   PARTITION BY log
                   ORDER BY first_index, last_index DESC, stage DESC
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ) AS covered_to,
               max(CASE WHEN stage = 0 THEN last_index END) OVER (
                   PARTITION BY log
                   ORDER BY first_index, last_index DESC, stage DESC
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ) AS committed_to
        FROM ranged
    ), contradicted AS (
        -- Also under a file that hides both: the commit files say different things of the same row.
        SELECT first_index FROM covered WHERE committed_to >= first_index
        UNION ALL
        SELECT b.first_index
        FROM ranged AS a JOIN ranged AS b
             ON a.log = b.log AND a.stage > 0 AND a.first_index < b.first_index
                AND a.last_index >= b.first_index AND a.last_index < b.last_index
    ), gone AS (
        SELECT name['log'] AS log, name['first']::BIGINT AS first_index, name['last']::BIGINT AS last_index
        FROM (
            SELECT regexp_extract(path, '([0-9a-z]{16,64})-([0-9]{16})-([0-9]{16})\.json$',
                                  ['log', 'first', 'last']) AS name
            FROM unnest(coalesce(lost::VARCHAR[], [])) AS listed (path)
        )
        WHERE name['log'] <> ''
    ), marked AS (
        SELECT entry['key'] AS log, entry['value'] AS mark
        FROM (SELECT unnest(map_entries(coalesce(marks::JSON, '{}'::JSON)::MAP(VARCHAR, BIGINT))) AS entry)
    ), ends AS (
        -- A place after the last row of each log: what lies between is missing, as between two files.
        SELECT log, mark
        FROM marked
        WHERE mark > coalesce((SELECT max(last_index) FROM ranged WHERE ranged.log = marked.log), -1) + 1
    ), maximal AS (
        SELECT *,
               coalesce(lag(last_index) OVER (PARTITION BY log ORDER BY first_index, last_index), -1) + 1 AS expected
        FROM (
            SELECT path, log, first_index, last_index FROM covered WHERE covered_to IS NULL OR covered_to < last_index
            UNION ALL
            SELECT NULL, log, mark, mark - 1 FROM ends
        )
    ), holes AS (
        SELECT log, expected, first_index
        FROM maximal
        WHERE first_index > expected + (
            SELECT coalesce(sum(greatest(least(gone.last_index, maximal.first_index - 1)
                                         - greatest(gone.first_index, maximal.expected) + 1, 0)), 0)
            FROM gone WHERE gone.log = maximal.log
        )
    )
    SELECT CASE
        WHEN (SELECT count(*) FROM holes) > 0
        THEN error((SELECT 'otel-audit: log ' || min_by(log, first_index) || ': rows ' || min_by(expected, first_index)
                           || '-' || (min(first_index) - 1) FROM holes)
                   || ' are missing. Run query/files.sql again; if it stays: otel-audit status --check')
        WHEN count(*) FILTER (WHERE first_index < expected) > 0
        THEN error('otel-audit: log ' || min_by(log, first_index) FILTER (WHERE first_index < expected)
                   || ': two files overlap at row ' || (min(first_index) FILTER (WHERE first_index < expected))
                   || '. Run query/files.sql again; if it stays: otel-audit status --check')
        WHEN (SELECT count(*) FROM contradicted) > 0
        THEN error('otel-audit: log: two files overlap at row ' || (SELECT min(first_index) FROM contradicted)
                   || '. Run query/files.sql again; if it stays: otel-audit status --check')
        ELSE coalesce(list(path ORDER BY log, first_index DESC) FILTER (WHERE path IS NOT NULL), [])
    END
    FROM maximal
);

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

-- DuckDB refuses an empty list of files, so without any the views read no rows of the same types.
CREATE OR REPLACE TEMP MACRO no_rows(columns) AS (
    'SELECT '
    || array_to_string(list_transform(map_values(columns), lambda c: 'NULL::' || c['type'] || ' AS ' || c['name']), ', ')
    || ' WHERE false'
);

CREATE OR REPLACE TEMP VIEW activity AS
SELECT * REPLACE (
    coalesce(actor_type, 'user') AS actor_type,
    coalesce(outcome, 'unknown') AS outcome,
    coalesce(metadata, '{}')::JSON AS metadata,
    changes::JSON AS changes
)
FROM query(CASE
    WHEN len(coalesce(getvariable('files'), [])) = 0 THEN no_rows(getvariable('activity_columns'))
    ELSE 'FROM read_parquet(getvariable(''files''), schema = getvariable(''activity_columns''),
                            hive_partitioning = false)'
END);

CREATE OR REPLACE TEMP VIEW quarantine AS
WITH items AS (
    FROM query(CASE
        WHEN len(coalesce(getvariable('quarantine_files'), [])) = 0 THEN no_rows(getvariable('quarantine_columns'))
        ELSE 'FROM read_parquet(getvariable(''quarantine_files''), schema = getvariable(''quarantine_columns''),
                                hive_partitioning = false)'
    END)
)
SELECT log_index, record_id AS sha256, recorded_at, received_from, service_name, reason, request
FROM items
WHERE decision = 'held'
  AND record_id NOT IN (SELECT record_id FROM items WHERE decision <> 'held');

CREATE OR REPLACE TEMP VIEW stream_notes AS
FROM query(CASE
    WHEN len(coalesce(getvariable('stream_files'), [])) = 0 THEN no_rows(getvariable('stream_columns'))
    ELSE 'FROM read_parquet(getvariable(''stream_files''), schema = getvariable(''stream_columns''),
                            hive_partitioning = false)'
END);

-- The body is that of stream_totals.sql, which says how it works; docs/completeness.md says what the columns mean.
CREATE OR REPLACE TEMP VIEW completeness AS
WITH numbered AS (
    SELECT stream_id, stream_number, service_name, recorded_at FROM activity
), notes AS (
    SELECT stream_id, kind, first_number, last_number, settled_reason, service_name, recorded_at FROM stream_notes
),
words AS (
    SELECT stream_id,
           word,
           bit_or(archived) AS archived,
           bit_or(held) AS held,
           bit_or(repeated) AS repeated,
           bit_or(archived | held | repeated) AS known,
           max(highest) AS highest,
           arg_max(service_name, seen) AS service_name,
           max(seen) AS seen
    FROM (
        -- Counted from 0 here, so that the highest number there can be does not overflow.
        SELECT stream_id,
               (stream_number - 1) >> 6 AS word,
               bit_or(1::UBIGINT << ((stream_number - 1) & 63)) AS archived,
               0::UBIGINT AS held,
               0::UBIGINT AS repeated,
               max(stream_number) AS highest,
               any_value(service_name) AS service_name,
               max(recorded_at) AS seen
        FROM numbered
        WHERE stream_id IS NOT NULL AND stream_number > 0
        GROUP BY ALL
        UNION ALL
        SELECT stream_id,
               word,
               0::UBIGINT,
               CASE kind WHEN 'quarantined' THEN bits ELSE 0::UBIGINT END,
               CASE kind WHEN 'repeat' THEN bits ELSE 0::UBIGINT END,
               last_number,
               service_name,
               recorded_at
        FROM (
            -- The bits from the run's first number to its last, as far as they lie in this word.
            SELECT *,
                   (18446744073709551615::UBIGINT >> (63 - least(last_number - 1 - (word << 6), 63)))
                   - ((1::UBIGINT << greatest(first_number - 1 - (word << 6), 0)) - 1) AS bits
            FROM (
                SELECT *, unnest(range((greatest(first_number, 1) - 1) >> 6, ((last_number - 1) >> 6) + 1)) AS word
                FROM notes
                WHERE kind IN ('repeat', 'quarantined') AND stream_id IS NOT NULL AND last_number > 0
            )
        )
    )
    GROUP BY stream_id, word
), ends AS (
    -- What is known of how far each stream has come, besides its records: what its producer told, and up to where an
    -- operator settled it.
    SELECT stream_id, kind, last_number FROM notes
    WHERE kind IN ('open', 'closed', 'recovered', 'settled') AND stream_id IS NOT NULL AND last_number > 0
), suspects AS (
    SELECT stream_id
    FROM (
        SELECT stream_id, max(highest) AS highest, sum(bit_count(known)) AS known FROM words GROUP BY stream_id
        UNION ALL
        SELECT stream_id, max(last_number), 0 FROM ends GROUP BY stream_id
    )
    GROUP BY stream_id
    HAVING max(highest) - sum(known) > 1 << 30
), jumps AS (
    -- The lowest number that lies more than 2^30 above all lower ones: from there on, no number is believed.
    SELECT stream_id, min(first) AS jump
    FROM (
        SELECT stream_id,
               first,
               max(last) OVER (
                   PARTITION BY stream_id ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ) AS before
        FROM (
            SELECT stream_id,
                   (word << 6) + bit_count(xor(known, known - 1)) AS first,
                   (word << 6) + length(bin(known)) AS last
            FROM words SEMI JOIN suspects USING (stream_id)
            UNION ALL
            SELECT stream_id, last_number, last_number FROM ends SEMI JOIN suspects USING (stream_id)
        )
    )
    WHERE first - coalesce(before, 0) > 1 << 30
    GROUP BY stream_id
), decided AS (
    SELECT stream_id,
           max(last_number) FILTER (jump IS NULL OR last_number < jump) AS upto,
           min(first_number) AS disregarded,
           arg_max(settled_reason, recorded_at) AS settled_reason
    FROM notes LEFT JOIN jumps USING (stream_id)
    WHERE kind = 'settled' AND stream_id IS NOT NULL
    GROUP BY stream_id
), judged AS (
    SELECT words.*,
           jump IS NULL OR word < (jump - 1) >> 6 AS plausible,
           -- The numbers of this word that an operator settled.
           CASE WHEN word < upto >> 6 THEN 18446744073709551615::UBIGINT
                WHEN word = upto >> 6 THEN (1::UBIGINT << (upto & 63)) - 1
                ELSE 0::UBIGINT END AS looked_at
    FROM words LEFT JOIN jumps USING (stream_id) LEFT JOIN decided USING (stream_id)
), counted AS (
    SELECT stream_id,
           sum(bit_count(archived)) FILTER (plausible) AS archived,
           sum(bit_count(held & ~archived)) FILTER (plausible) AS quarantined,
           sum(bit_count(repeated)) FILTER (plausible) AS repeats,
           sum(bit_count(known)) FILTER (plausible) AS known,
           sum(bit_count(known & looked_at)) FILTER (plausible) AS known_settled,
           max(highest) FILTER (plausible) AS highest,
           max(highest) AS highest_of_all,
           arg_max(service_name, seen) AS service_name,
           max(seen) AS seen
    FROM judged
    GROUP BY stream_id
), told AS (
    SELECT stream_id,
           max(last_number) FILTER (jump IS NULL OR last_number < jump) AS last_told,
           max(last_number) FILTER (kind <> 'open' AND (jump IS NULL OR last_number < jump)) AS last_settled,
           max(last_number) AS highest_told,
           -- By weight, not by time: what is told may overtake each other on its way.
           max(kind = 'closed') AS closed,
           max(kind = 'recovered') AS recovered,
           arg_max(service_name, recorded_at) AS service_name,
           max(recorded_at) AS seen
    FROM notes LEFT JOIN jumps USING (stream_id)
    WHERE kind IN ('open', 'closed', 'recovered') AND stream_id IS NOT NULL
    GROUP BY stream_id
), streams AS (
    SELECT stream_id,
           coalesce(counted.service_name, told.service_name) AS service_name,
           CASE WHEN upto >= greatest(highest, last_told, 0) THEN 'settled'
                WHEN closed THEN 'closed' WHEN recovered THEN 'recovered' ELSE 'open' END AS state,
           greatest(highest, last_settled, upto, 0) AS due,
           greatest(highest, last_told, upto, 0) AS emitted,
           coalesce(archived, 0)::BIGINT AS archived,
           coalesce(quarantined, 0)::BIGINT AS quarantined,
           coalesce(repeats, 0)::BIGINT AS repeats,
           coalesce(upto, 0) AS upto,
           (coalesce(upto, 0) - coalesce(known_settled, 0))::BIGINT AS settled,
           (greatest(highest, last_settled, upto, 0) - coalesce(known, 0)
               - (coalesce(upto, 0) - coalesce(known_settled, 0)))::BIGINT AS missing_count,
           CASE WHEN jump IS NOT NULL AND (disregarded IS NULL OR jump < disregarded)
                THEN {'first': jump, 'last': greatest(highest_of_all, highest_told)} END AS implausible,
           settled_reason,
           greatest(counted.seen, told.seen) AS last_seen
    FROM counted FULL JOIN told USING (stream_id)
         LEFT JOIN jumps USING (stream_id) LEFT JOIN decided USING (stream_id)
), gaps AS (
    SELECT stream_id, list({'first': before + 2, 'last': first} ORDER BY first) AS missing
    FROM (
        SELECT stream_id,
               first,
               coalesce(max(last) OVER (
                   PARTITION BY stream_id ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ), -1) AS before
        FROM (
            SELECT stream_id, word << 6 AS first, (word << 6) + 63 AS last
            FROM judged SEMI JOIN (FROM streams WHERE missing_count > 0) USING (stream_id)
            WHERE plausible AND known = 18446744073709551615
            UNION ALL
            SELECT stream_id, (word << 6) + bit, (word << 6) + bit
            FROM (
                SELECT stream_id, word, known, unnest(range(64)) AS bit
                FROM judged SEMI JOIN (FROM streams WHERE missing_count > 0) USING (stream_id)
                WHERE plausible AND known <> 18446744073709551615
            )
            WHERE (known >> bit) & 1 = 1
            UNION ALL
            SELECT stream_id, 0, upto - 1 FROM streams WHERE missing_count > 0 AND upto > 0
            UNION ALL
            SELECT stream_id, due, due FROM streams WHERE missing_count > 0
        )
    )
    WHERE before + 1 < first
    GROUP BY stream_id
), reports AS (
    SELECT stream_id,
           service_name,
           state,
           emitted,
           archived,
           quarantined,
           coalesce(missing, []) AS missing,
           missing_count,
           emitted - due AS awaited,
           repeats,
           settled,
           settled_reason,
           implausible,
           last_seen
    FROM streams LEFT JOIN gaps USING (stream_id)
)
FROM reports;

-- The archive holds a UUID in lower case, whichever case it came in.
CREATE OR REPLACE TEMP MACRO canonical_id(id) AS (
    CASE WHEN regexp_full_match(id::VARCHAR, '[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}')
         THEN lower(id::VARCHAR) ELSE id::VARCHAR END
);

CREATE OR REPLACE TEMP MACRO by_entity(type, id) AS TABLE
    FROM activity
    WHERE entity_type = type AND entity_id = canonical_id(id)
    ORDER BY occurred_at DESC, record_id DESC;

CREATE OR REPLACE TEMP MACRO by_actor(id) AS TABLE
    FROM activity
    WHERE actor_id = canonical_id(id)
    ORDER BY occurred_at DESC, record_id DESC;

CREATE OR REPLACE TEMP MACRO by_owner(id) AS TABLE
    FROM activity
    WHERE owner_id = canonical_id(id)
    ORDER BY occurred_at DESC, record_id DESC;

-- The parameter is not called `action`: inside the macro that would be the column.
CREATE OR REPLACE TEMP MACRO by_action(verb) AS TABLE
    FROM activity
    WHERE action = verb
    ORDER BY occurred_at DESC, record_id DESC;
