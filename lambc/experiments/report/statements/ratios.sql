-- A row is a kind of layer in a quarter of the training, where nothing was clipped: quantiles of its trust ratios, and the
-- share of them above 1.
SELECT
    batch_size AS "batch size",
    CASE
        WHEN len(shape) = 4 THEN 'convolution'
        WHEN len(shape) > 1 THEN 'matrix'
        WHEN ends_with(layer, 'weight') THEN '1-D weight (normalisation)'
        ELSE '1-D bias'
    END AS kind,
    1 + (4 * (step - 1)) // steps AS quarter,
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.05), 4) AS "5 %",
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.5), 4) AS "median",
    round(quantile_cont(CAST(trust_ratio AS DOUBLE), 0.95), 4) AS "95 %",
    round(CAST(max(trust_ratio) AS DOUBLE), 4) AS largest,
    TRY_CAST(100 * avg(CAST(trust_ratio > 1 AS INTEGER)) AS DECIMAL(12, 2)) AS "above 1 %"
FROM arms
JOIN trust_ratios USING (run)
JOIN layers USING (run, layer)
WHERE status = 'finished' AND arm = 'no clipping' AND outcome = 'free'
GROUP BY batch_size, kind, quarter
ORDER BY batch_size, kind, quarter
