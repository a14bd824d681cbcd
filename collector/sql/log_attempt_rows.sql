-- A row is a value of a metric, and the attempt that logged it. The steps say so, for clocks step back and an attempt within
-- one process is noted after its first values; but what is logged between a resume and its first step stands at the step
-- before that, as the last values before the pause do, and there the time decides. A metric with an axis of its own, as
-- tokens, has the time alone.
--   SELECT step, attempt FROM log.attempt_rows('demo');
CREATE MACRO log.attempt_rows(run) AS TABLE
WITH begun AS (
    SELECT attempt, first_step, started FROM attempts WHERE attempts.run = run
),
-- Without those whose steps were all taken back.
by_step AS (
    SELECT
        attempt,
        first_step,
        lead(attempt) OVER (ORDER BY attempt) AS next_attempt,
        CASE
            WHEN attempt > 0 THEN coalesce(lead(first_step) OVER (ORDER BY attempt) - 1, getvariable('steps_by_run')[run])
        END AS last_step
    FROM (
        FROM begun
        WHERE first_step IS NOT NULL
        QUALIFY
            coalesce(
                first_step
                < min(first_step) OVER (ORDER BY attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING),
                true
            )
        UNION ALL
        SELECT 0, -1, NULL  -- what was logged before the first step, or without a run.json
    )
)
SELECT
    rows.*,
    CASE
        WHEN list_contains(getvariable('own_axis_by_run')[run], rows.name) THEN coalesce(by_time.attempt, 0)
        WHEN rows.step < by_step.last_step THEN by_step.attempt
        ELSE greatest(by_step.attempt, least(by_time.attempt, by_step.next_attempt))
    END AS attempt
FROM log.run_rows('metrics', run) AS rows
ASOF JOIN by_step ON rows.step >= by_step.first_step
ASOF LEFT JOIN (FROM begun WHERE started IS NOT NULL) AS by_time ON rows.time >= by_time.started;
