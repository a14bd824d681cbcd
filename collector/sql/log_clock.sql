-- A row is a stretch of a run between a start and the next resume, or its end: from which step, when it began, and for how
-- many seconds the stretches before it trained. The pause before a resume counts as nothing, and neither do the steps that
-- it took back. A stretch begins when the attempt was started, or with its first value if that is earlier.
--   SELECT first_step, seconds_before FROM log.clock('demo');
CREATE MACRO log.clock(run) AS TABLE
WITH starts AS (
    SELECT first_step, started
    FROM attempts
    WHERE attempts.run = run AND first_step IS NOT NULL
    QUALIFY
        coalesce(
            first_step
            < min(first_step) OVER (ORDER BY attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING),
            true
        )
    UNION ALL
    SELECT -1, NULL  -- what was logged before the first step, or without a run.json
),
stretches AS (
    SELECT starts.first_step, least(any_value(starts.started), min(rows.time)) AS began, max(rows.time) AS ended
    FROM log.run_rows('metrics', run) AS rows
    ASOF JOIN starts ON rows.step >= starts.first_step
    GROUP BY starts.first_step
)
SELECT
    first_step,
    began,
    coalesce(
        sum(epoch(ended - began)) OVER (ORDER BY first_step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
    ) AS seconds_before
FROM stretches;
