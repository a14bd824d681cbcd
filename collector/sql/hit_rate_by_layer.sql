-- A row is a layer of a run: in which share of the steps between two it was clipped at its upper and its lower bound, at
-- which step first and last, and its bounds in its last step. The shares are of the steps that could be clipped (outcome
-- free, upper or lower), NULL where there are none.
--   SELECT layer, upper_rate, lower_rate FROM hit_rate_by_layer('demo', 1, 1000) ORDER BY "position";
CREATE MACRO hit_rate_by_layer(run, first_step, last_step) AS TABLE
WITH hits AS (
    SELECT
        rows.layer,
        count(*) AS rows,
        count(*) FILTER (rows.outcome IN ('free', 'upper', 'lower')) AS adapted,
        count(*) FILTER (rows.outcome = 'upper') AS upper_hits,
        count(*) FILTER (rows.outcome = 'lower') AS lower_hits,
        upper_hits / nullif(adapted, 0) AS upper_rate,
        lower_hits / nullif(adapted, 0) AS lower_rate,
        arg_max(rows.upper, rows.step) AS upper,
        arg_max(rows.lower, rows.step) AS lower,
        min(rows.step) FILTER (rows.outcome IN ('upper', 'lower')) AS first_hit,
        max(rows.step) FILTER (rows.outcome IN ('upper', 'lower')) AS last_hit
    FROM trust_ratios AS rows
    WHERE rows.run = run AND rows.step BETWEEN first_step AND last_step
    GROUP BY rows.layer
)
SELECT hits.*, layers.position, layers.shape, layers.parameters
FROM hits
LEFT JOIN layers ON layers.run = run AND layers.layer = hits.layer;
