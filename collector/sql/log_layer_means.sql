-- A row is a layer of a run over all its steps: hit rate, and geometric mean of the ratio before clipping.
--   FROM log.layer_means('demo');
CREATE MACRO log.layer_means(run) AS TABLE
SELECT
    layer,
    sum(rows)::BIGINT AS steps,
    hit_share(upper_hits, lower_hits, adapted) AS hit_rate,
    exp(sum(trust_ratio_log_mean * rows) / sum(rows)) AS ratio
FROM log.cells(run, 1::BIGINT << 62)
GROUP BY layer;
