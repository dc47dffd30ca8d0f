-- Streams counted: what became of each number; other statements take it in with a line `-- include stream_totals.sql`.
--
-- port:       stream_reports
-- session:    none; the statement around it supplies two relations:
--             numbered (stream_id, stream_number, service_name, recorded_at)  the rows of the archive
--             notes    (stream_id, kind, first_number, last_number, settled_reason, service_name, recorded_at)  the log of streams
-- parameters: none
-- prunes:     nothing by itself. One pass over the rows makes a bit for each number, 64 to a word: that drops repeats
--             (retries, several logs), takes a sixty-fourth of the rows' room, and is exact. Gaps are looked for in
--             streams that are not whole, jumps in those that lack more than 2^30 numbers, and a window function sees
--             nothing but their words.
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
