-- A row is a layer of a run: quantiles of its ratio before clipping between two steps, over the steps that could be clipped.
-- Each is the upper end of its bin in ratio_histogram, so at most 2.2 % too large: an upper bound there clips no more than
-- the rest of the steps.
--   SELECT layer, q50, q99 FROM ratio_quantiles('demo', 1, 1000) ORDER BY q99 DESC;
CREATE MACRO ratio_quantiles(run, first_step, last_step) AS TABLE
SELECT
    layer,
    max(so_far)::BIGINT AS steps,
    min(up_to) FILTER (share >= 0.01) AS q01,
    min(up_to) FILTER (share >= 0.05) AS q05,
    min(up_to) FILTER (share >= 0.25) AS q25,
    min(up_to) FILTER (share >= 0.5) AS q50,
    min(up_to) FILTER (share >= 0.75) AS q75,
    min(up_to) FILTER (share >= 0.95) AS q95,
    min(up_to) FILTER (share >= 0.99) AS q99
FROM (
    SELECT
        layer,
        up_to,
        sum(steps) OVER (PARTITION BY layer ORDER BY up_to) AS so_far,
        so_far / sum(steps) OVER (PARTITION BY layer) AS share
    FROM ratio_histogram(run, first_step, last_step)
)
GROUP BY layer;
