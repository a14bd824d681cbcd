-- A row is a kind of layer under an arm with a bound, at a batch size: how many layers there are, and in which share of
-- their steps they were clipped, over the whole training and in its last quarter.
SELECT
    batch_size AS "batch size",
    arm,
    CASE
        WHEN len(shape) = 4 THEN 'convolution'
        WHEN len(shape) > 1 THEN 'matrix'
        WHEN ends_with(layer, 'weight') THEN '1-D weight (normalisation)'
        ELSE '1-D bias'
    END AS kind,
    count(DISTINCT layer) AS layers,
    TRY_CAST(100 * hit_rate(outcome) AS DECIMAL(12, 2)) AS "clipped %",
    TRY_CAST(100 * hit_rate(CASE WHEN 4 * step > 3 * steps THEN outcome END) AS DECIMAL(12, 2)) AS "in the last quarter %"
FROM arms
JOIN trust_ratios USING (run)
JOIN layers USING (run, layer)
WHERE status = 'finished' AND bound <> 'no clipping'
GROUP BY batch_size, arm, kind
ORDER BY batch_size, contains(arm, ','), arm, "clipped %" DESC NULLS LAST, kind
