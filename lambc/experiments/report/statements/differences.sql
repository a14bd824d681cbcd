-- A row is an arm at a batch size against another: the mean difference of their accuracies, smoothed over the epochs and
-- after the last one, in points, over pairs of runs with one seed, and its interval at 95 % (Student's t; above 31 pairs that
-- of 31, which is wider). The paper's is held against the smoothed one.
SELECT
    compared.batch_size AS "batch size",
    compared.paper_batch_size AS "stands for",
    arm,
    against,
    measure,
    pairs,
    TRY_CAST(mean AS DECIMAL(12, 2)) AS difference,
    TRY_CAST(mean - reach AS DECIMAL(12, 2)) AS "from",
    TRY_CAST(mean + reach AS DECIMAL(12, 2)) AS "to",
    seen AS "what is seen",
    CASE WHEN arm IN ('clip 1', 'clip 1, authors'' code') AND measure = 'smoothed' THEN paper.difference END AS paper
FROM compared
SEMI JOIN arms
    ON arms.arm = compared.arm AND arms.held_against = compared.against AND arms.batch_size = compared.batch_size
LEFT JOIN (VALUES (1000, 2.03), (2000, 0.69), (3000, 0.88)) AS paper (batch_size, difference)
    ON paper.batch_size = compared.paper_batch_size
WHERE measure IN ('smoothed', 'last epoch')
ORDER BY compared.batch_size, contains(arm, ','), arm, measure DESC
