-- A row is an arm with a bound at a batch size: in which share of their steps the tensors of one dimension (biases,
-- normalisation) and all others were clipped, and which share of all clipped layer-steps those of one dimension have.
SELECT
    batch_size AS "batch size",
    any_value(paper_batch_size) AS "stands for",
    arm,
    TRY_CAST(100 * sum(hits) FILTER (one_d) / nullif(sum(adapted) FILTER (one_d), 0) AS DECIMAL(12, 2)) AS "1-D clipped %",
    TRY_CAST(100 * sum(hits) FILTER (NOT one_d) / nullif(sum(adapted) FILTER (NOT one_d), 0) AS DECIMAL(12, 2)) AS "others clipped %",
    TRY_CAST(100 * sum(hits) FILTER (one_d) / nullif(sum(hits), 0) AS DECIMAL(12, 2)) AS "hits that are 1-D %",
    CAST(sum(hits) AS BIGINT) AS hits
FROM (
    SELECT batch_size, paper_batch_size, arm, upper_hits + lower_hits AS hits, adapted, len(shape) < 2 AS one_d
    FROM arms
    JOIN clip_hits USING (run)
    JOIN layers USING (run, layer)
    WHERE status = 'finished' AND bound <> 'no clipping'
)
GROUP BY batch_size, arm
ORDER BY batch_size, contains(arm, ','), arm
