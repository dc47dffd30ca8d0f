-- Streams counted: what became of each number; other statements take it in with a line `-- include stream_totals.sql`.
--
-- port:       stream_reports
-- session:    none; the statement around it supplies two relations:
--             numbered (stream_id, stream_number, service_name, recorded_at)  the rows of the archive
--             notes    (stream_id, kind, first_number, last_number, service_name, recorded_at)  the log of streams
-- parameters: none
-- prunes:     nothing by itself. One pass over the rows makes a bit for each number, 64 to a word: that drops repeats
--             (retries, several logs), takes a sixty-fourth of the rows' room, and is exact. Gaps are looked for in
--             streams that are not whole, and a window function sees nothing but their words.
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
), counted AS (
    SELECT stream_id,
           sum(bit_count(archived))::BIGINT AS archived,
           sum(bit_count(held & ~archived))::BIGINT AS quarantined,
           sum(bit_count(repeated))::BIGINT AS repeats,
           sum(bit_count(known))::BIGINT AS known,
           max(highest) AS highest,
           arg_max(service_name, seen) AS service_name,
           max(seen) AS seen
    FROM words
    GROUP BY stream_id
), told AS (
    SELECT stream_id,
           max(last_number) AS last_told,
           max(last_number) FILTER (kind <> 'open') AS last_settled,
           -- By weight, not by time: what is told may overtake each other on its way.
           max(kind = 'closed') AS closed,
           max(kind = 'recovered') AS recovered,
           arg_max(service_name, recorded_at) AS service_name,
           max(recorded_at) AS seen
    FROM notes
    WHERE kind IN ('open', 'closed', 'recovered') AND stream_id IS NOT NULL
    GROUP BY stream_id
), streams AS (
    SELECT stream_id,
           coalesce(counted.service_name, told.service_name) AS service_name,
           CASE WHEN closed THEN 'closed' WHEN recovered THEN 'recovered' ELSE 'open' END AS state,
           greatest(highest, last_settled, 0) AS settled,
           greatest(highest, last_told, 0) AS emitted,
           coalesce(archived, 0) AS archived,
           coalesce(quarantined, 0) AS quarantined,
           coalesce(repeats, 0) AS repeats,
           greatest(highest, last_settled, 0) - coalesce(known, 0) AS missing_count,
           greatest(counted.seen, told.seen) AS last_seen
    FROM counted FULL JOIN told USING (stream_id)
), gaps AS (
    SELECT stream_id, list({'first': before + 2, 'last': first} ORDER BY first) AS missing
    FROM (
        SELECT stream_id, first, lag(last, 1, -1) OVER (PARTITION BY stream_id ORDER BY first) AS before
        FROM (
            SELECT stream_id, word << 6 AS first, (word << 6) + 63 AS last
            FROM words SEMI JOIN (FROM streams WHERE missing_count > 0) USING (stream_id)
            WHERE known = 18446744073709551615
            UNION ALL
            SELECT stream_id, (word << 6) + bit, (word << 6) + bit
            FROM (
                SELECT stream_id, word, known, unnest(range(64)) AS bit
                FROM words SEMI JOIN (FROM streams WHERE missing_count > 0) USING (stream_id)
                WHERE known <> 18446744073709551615
            )
            WHERE (known >> bit) & 1 = 1
            UNION ALL
            SELECT stream_id, settled, settled FROM streams WHERE missing_count > 0
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
           emitted - settled AS awaited,
           repeats,
           last_seen
    FROM streams LEFT JOIN gaps USING (stream_id)
)
