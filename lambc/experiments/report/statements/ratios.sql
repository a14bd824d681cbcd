-- A row is a kind of layer in a quarter of the training, where nothing was clipped: quantiles of its trust ratios, and the
-- share of them above 1.
SELECT
    batch_size AS "batch size",
    kind,
    CAST(least(ceil(4 * gone), 4) AS BIGINT) AS quarter,
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.05), 4) AS "5 %",
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.5), 4) AS "median",
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.95), 4) AS "95 %",
    round(CAST(max(trust_ratio) AS DOUBLE), 4) AS largest,
    TRY_CAST(100 * avg(CAST(trust_ratio > 1 AS INTEGER)) AS DECIMAL(12, 2)) AS "above 1 %"
FROM layer_steps
WHERE arm = 'no clipping' AND outcome = 'free'
GROUP BY batch_size, kind, quarter
ORDER BY batch_size, kind, quarter
