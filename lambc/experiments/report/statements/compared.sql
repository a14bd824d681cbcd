-- A row is an arm against another at a batch size: the mean difference of a measure, in points, over pairs of runs with one
-- seed, and how far its interval at 95 % reaches (Student's t; above 31 pairs that of 31, which is wider).
SELECT
    *,
    CASE
        WHEN pairs = 1 THEN 'one seed: no interval'
        WHEN mean - reach > 0 THEN CASE measure WHEN 'spread' THEN 'larger' ELSE 'better' END
        WHEN mean + reach < 0 THEN CASE measure WHEN 'spread' THEN 'smaller' ELSE 'worse' END
        ELSE 'no difference seen'
    END AS seen
FROM (
    SELECT
        batch_size,
        one.paper_batch_size,
        measure,
        one.arm,
        other.arm AS against,
        count(*) AS pairs,
        avg(one.value - other.value) AS mean,
        (SELECT quantiles FROM students_t)[least(count(*), 31) - 1]
        * stddev_samp(one.value - other.value) / sqrt(count(*)) AS reach
    FROM measures AS one
    JOIN measures AS other USING (batch_size, seed, measure)
    WHERE one.arm <> other.arm
    GROUP BY batch_size, one.paper_batch_size, measure, one.arm, other.arm
)
