-- A row is a reading of the method: how far, on average, the accuracies of its two arms are from Table 1, in points, over
-- so many of the table's six cells, and at how many batch sizes clipping at 1 is ahead, as the paper has it at all three.
SELECT
    CASE WHEN setting = '' THEN 'printed, with bias correction' ELSE 'the authors'' code' END AS reading,
    CAST(count(clipped) + count(unclipped) AS BIGINT) AS cells,
    TRY_CAST(
        (coalesce(sum(abs(100 * clipped - paper_clipped)), 0) + coalesce(sum(abs(100 * unclipped - paper_unclipped)), 0))
        / (count(clipped) + count(unclipped)) AS DECIMAL(12, 2)
    ) AS "points from the paper",
    count(*) FILTER (clipped > unclipped) AS "clip 1 ahead",
    count(*) AS "batch sizes"
FROM (
    SELECT
        setting,
        paper_batch_size,
        avg(last_test_accuracy) FILTER (bound = 'clip 1') AS clipped,
        avg(last_test_accuracy) FILTER (bound = 'no clipping') AS unclipped
    FROM arms
    WHERE status = 'finished' AND setting IN ('', 'authors'' code') AND bound IN ('clip 1', 'no clipping')
    GROUP BY setting, paper_batch_size
)
JOIN (VALUES (1000, 87.71, 85.68), (2000, 87.3, 86.61), (3000, 86.29, 85.41))
    AS paper (paper_batch_size, paper_clipped, paper_unclipped) USING (paper_batch_size)
GROUP BY setting
ORDER BY setting
