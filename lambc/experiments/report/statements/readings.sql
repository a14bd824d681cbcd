-- A row is a reading of the method: how far, on average, the smoothed accuracies of its two arms are from Table 1, in points, over
-- so many of the table's six cells, and at how many batch sizes clipping at 1 is ahead, as the paper has it at all three.
-- Only batch sizes at which every reading was trained count: a smaller batch takes more steps, and is nearer by that alone.
SELECT
    CASE WHEN setting = '' THEN 'printed, with bias correction' ELSE 'the authors'' code' END AS reading,
    2 * count(*) AS cells,
    TRY_CAST(
        50 * avg(abs(clipped - paper_clipped) + abs(unclipped - paper_unclipped)) AS DECIMAL(12, 2)
    ) AS "points from the paper",
    count(*) FILTER (clipped > unclipped) AS "clip 1 ahead",
    count(*) AS "batch sizes"
FROM (
    SELECT
        setting,
        paper_batch_size,
        avg(value / 100) FILTER (bound = 'clip 1') AS clipped,
        avg(value / 100) FILTER (bound = 'no clipping') AS unclipped
    FROM measures
    WHERE measure = 'smoothed' AND setting IN ('', 'authors'' code') AND bound IN ('clip 1', 'no clipping')
    GROUP BY setting, paper_batch_size
    HAVING clipped IS NOT NULL AND unclipped IS NOT NULL
    QUALIFY count(*) OVER (PARTITION BY paper_batch_size) = count(DISTINCT setting) OVER ()
)
JOIN (VALUES (1000, 0.8771, 0.8568), (2000, 0.873, 0.8661), (3000, 0.8629, 0.8541))
    AS paper (paper_batch_size, paper_clipped, paper_unclipped) USING (paper_batch_size)
GROUP BY setting
ORDER BY setting
