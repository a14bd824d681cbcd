-- A row is an arm at a batch size against another: the mean difference of their accuracies after the last epoch, in points,
-- over pairs of runs with one seed, and its interval at 95 % (Student's t; above 31 pairs that of 31, which is wider).
SELECT
    means.batch_size AS "batch size",
    means.paper_batch_size AS "stands for",
    arm,
    held_against AS against,
    pairs,
    TRY_CAST(mean AS DECIMAL(12, 2)) AS difference,
    TRY_CAST(mean - reach AS DECIMAL(12, 2)) AS "from",
    TRY_CAST(mean + reach AS DECIMAL(12, 2)) AS "to",
    CASE
        WHEN pairs = 1 THEN 'one seed: no interval'
        WHEN mean - reach > 0 THEN 'better'
        WHEN mean + reach < 0 THEN 'worse'
        ELSE 'no difference seen'
    END AS "what is seen",
    CASE WHEN arm IN ('clip 1', 'clip 1, authors'' code') THEN paper.difference END AS paper
FROM (
    SELECT
        arms.batch_size,
        arms.paper_batch_size,
        arms.arm,
        arms.held_against,
        count(*) AS pairs,
        avg(100 * (arms.last_test_accuracy - other.last_test_accuracy)) AS mean,
        [
            12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
            2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042
        ][least(count(*), 31) - 1]
        * stddev_samp(100 * (arms.last_test_accuracy - other.last_test_accuracy)) / sqrt(count(*)) AS reach
    FROM arms
    JOIN arms AS other
        ON other.arm = arms.held_against AND other.batch_size = arms.batch_size AND other.seed = arms.seed
    WHERE arms.status = 'finished' AND other.status = 'finished'
    GROUP BY arms.batch_size, arms.paper_batch_size, arms.arm, arms.held_against
) AS means
LEFT JOIN (VALUES (1000, 2.03), (2000, 0.69), (3000, 0.88)) AS paper (batch_size, difference)
    ON paper.batch_size = means.paper_batch_size
ORDER BY means.batch_size, contains(arm, ','), arm
