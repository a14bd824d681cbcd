-- A row is an attempt that logged something: when it began, and for how many seconds the attempts before it trained. The
-- pause before a resume counts as nothing, and neither do the steps that it took back. An attempt begins when it was
-- started, or with its first value if that is earlier.
--   SELECT attempt, seconds_before FROM log.clock('demo');
CREATE MACRO log.clock(run) AS TABLE
SELECT
    rows.attempt,
    least(any_value(attempts.started), min(rows.time)) AS began,
    coalesce(
        sum(epoch(max(rows.time) - least(any_value(attempts.started), min(rows.time))))
            OVER (ORDER BY rows.attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
        0
    ) AS seconds_before
FROM log.attempt_rows(run) AS rows
LEFT JOIN attempts ON attempts.run = run AND attempts.attempt = rows.attempt
GROUP BY rows.attempt;
