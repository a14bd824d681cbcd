-- A row is a layer of a run: in which share of the steps between two it was clipped at its upper and its lower bound, at
-- which step first and last, and its bounds in its last step. The shares are of the steps that could be clipped (outcome
-- free, upper or lower), NULL where there are none.
--   SELECT layer, upper_rate, first_hit, last_hit FROM hit_rate_by_layer('demo-clip1', 1, 1000) ORDER BY "position";
CREATE MACRO hit_rate_by_layer(run, first_step, last_step) AS TABLE
WITH hits AS (
    SELECT
        layer,
        sum(cells.rows)::BIGINT AS rows,
        sum(cells.adapted)::BIGINT AS adapted,
        sum(cells.upper_hits)::BIGINT AS upper_hits,
        sum(cells.lower_hits)::BIGINT AS lower_hits,
        sum(cells.upper_hits) / nullif(sum(cells.adapted), 0) AS upper_rate,
        sum(cells.lower_hits) / nullif(sum(cells.adapted), 0) AS lower_rate,
        arg_max(cells.upper, cells.last_step) AS upper,
        arg_max(cells.lower, cells.last_step) AS lower,
        min(cells.first_hit) AS first_hit,
        max(cells.last_hit) AS last_hit
    FROM log.cells_between(run, first_step, last_step, getvariable('finest_width')) AS cells
    GROUP BY layer
)
SELECT hits.*, layers.position, layers.shape, layers.parameters
FROM hits
LEFT JOIN layers ON layers.run = run AND layers.layer = hits.layer;
