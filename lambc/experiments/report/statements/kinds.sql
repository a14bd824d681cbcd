-- A row is a kind of layer under an arm with a bound, at a batch size: how many layers there are, and in which share of
-- their steps they were clipped, over the whole training, and then up to a sixteenth of it, from there to an eighth, and so
-- on; the last column is its last quarter.
SELECT
    batch_size AS "batch size",
    arm,
    kind,
    count(DISTINCT layer) AS layers,
    TRY_CAST(100 * hit_rate(outcome) AS DECIMAL(12, 2)) AS "clipped %",
    TRY_CAST(100 * hit_rate(CASE WHEN gone <= 1 / 16 THEN outcome END) AS DECIMAL(12, 2)) AS "to 1/16",
    TRY_CAST(100 * hit_rate(CASE WHEN gone > 1 / 16 AND gone <= 1 / 8 THEN outcome END) AS DECIMAL(12, 2)) AS "to 1/8",
    TRY_CAST(100 * hit_rate(CASE WHEN gone > 1 / 8 AND gone <= 1 / 4 THEN outcome END) AS DECIMAL(12, 2)) AS "to 1/4",
    TRY_CAST(100 * hit_rate(CASE WHEN gone > 1 / 4 AND gone <= 1 / 2 THEN outcome END) AS DECIMAL(12, 2)) AS "to 1/2",
    TRY_CAST(100 * hit_rate(CASE WHEN gone > 1 / 2 AND gone <= 3 / 4 THEN outcome END) AS DECIMAL(12, 2)) AS "to 3/4",
    TRY_CAST(100 * hit_rate(CASE WHEN gone > 3 / 4 THEN outcome END) AS DECIMAL(12, 2)) AS "last quarter %"
FROM layer_steps
WHERE bound NOT IN ('no clipping', 'ratio 1')
GROUP BY batch_size, arm, kind
ORDER BY batch_size, contains(arm, ','), arm, "clipped %" DESC NULLS LAST, kind
