-- A row is a layer of a run: quantiles of its ratio before clipping between two steps, over the steps that could be clipped.
-- They are approximate (DuckDB's approx_quantile: within about a hundredth of a rank), so that memory does not grow.
--   SELECT layer, q50, q99 FROM ratio_quantiles('demo', 1, 1000) ORDER BY q99 DESC;
CREATE MACRO ratio_quantiles(run, first_step, last_step) AS TABLE
SELECT layer, steps, q[1] AS q01, q[2] AS q05, q[3] AS q25, q[4] AS q50, q[5] AS q75, q[6] AS q95, q[7] AS q99
FROM (
    SELECT
        rows.layer,
        count(*) AS steps,
        approx_quantile(rows.trust_ratio, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS q
    FROM log.run_rows('trust_ratios', run) AS rows
    WHERE
        rows.step BETWEEN first_step AND last_step
        AND outcome(rows.weight_norm, rows.update_norm, rows.trust_ratio, rows.lower, rows.upper) IN ('free', 'upper', 'lower')
    GROUP BY rows.layer
);
