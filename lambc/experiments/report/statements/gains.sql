-- A row is a batch size beside the smallest, which takes the most steps: how many points of smoothed accuracy clipping at 1
-- gains at both, and how many more at the smallest, over the seeds that both have, with its interval at 95 %.
SELECT
    batch_size AS "batch size",
    steps,
    smallest,
    its_steps AS "its steps",
    seeds,
    TRY_CAST(gain AS DECIMAL(12, 2)) AS gain,
    TRY_CAST(its_gain AS DECIMAL(12, 2)) AS "gain at the smallest",
    TRY_CAST(more AS DECIMAL(12, 2)) AS more,
    TRY_CAST(more - reach AS DECIMAL(12, 2)) AS "from",
    TRY_CAST(more + reach AS DECIMAL(12, 2)) AS "to",
    CASE
        WHEN seeds = 1 THEN 'one seed: no interval'
        WHEN more - reach > 0 THEN 'more in more steps'
        WHEN more + reach < 0 THEN 'less in more steps'
        ELSE 'no difference seen'
    END AS "what is seen"
FROM (
    SELECT
        batch_size,
        any_value(steps) AS steps,
        any_value(smallest) AS smallest,
        any_value(its_steps) AS its_steps,
        count(*) AS seeds,
        avg(gain) AS gain,
        avg(its_gain) AS its_gain,
        avg(its_gain - gain) AS more,
        (SELECT quantiles FROM students_t)[least(count(*), 31) - 1] * stddev_samp(its_gain - gain) / sqrt(count(*)) AS reach
    FROM (
        SELECT
            *,
            min(batch_size) OVER (PARTITION BY seed) AS smallest,
            arg_min(gain, batch_size) OVER (PARTITION BY seed) AS its_gain,
            arg_min(steps, batch_size) OVER (PARTITION BY seed) AS its_steps
        FROM (
            SELECT
                measures.batch_size,
                measures.seed,
                any_value(steps) AS steps,
                any_value(value) FILTER (measures.arm = 'clip 1') AS clipped,
                any_value(value) FILTER (measures.arm = 'no clipping') AS unclipped,
                clipped - unclipped AS gain
            FROM measures
            JOIN arms USING (run)
            WHERE measure = 'smoothed' AND measures.arm IN ('clip 1', 'no clipping')
            GROUP BY measures.batch_size, measures.seed
        )
        WHERE gain IS NOT NULL
    )
    WHERE batch_size > smallest
    GROUP BY batch_size
)
ORDER BY batch_size
