-- A row is a cell: a layer of a run over `width` steps, the first of them `step`. A ratio is the one furthest from 1 in
-- these steps, a norm the largest, a relative step the largest, so that a spike of one step is seen at every width.
-- hit_rate is as in clip_hits. At most `columns` cells a layer; position is NULL where run.json has no such layer.
--   SELECT layer, step, trust_ratio FROM heatmap('demo', 1, 1000, 200) ORDER BY "position", step;
CREATE MACRO heatmap(run, first_step, last_step, columns) AS TABLE
WITH cells AS (
    SELECT
        rows.layer,
        cell_width(first_step, last_step, columns) AS width,
        first_step + (rows.step - first_step) // width * width AS step,
        count(*) AS rows,
        arg_max(rows.trust_ratio, abs(ln(greatest(rows.trust_ratio, 1e-38)))) AS trust_ratio,
        arg_max(rows.clipped_ratio, abs(ln(greatest(rows.clipped_ratio, 1e-38)))) AS clipped_ratio,
        max(rows.weight_norm) AS weight_norm,
        max(rows.update_norm) AS update_norm,
        max(rows.relative_step) AS relative_step,
        count(*) FILTER (rows.outcome = 'upper') AS upper_hits,
        count(*) FILTER (rows.outcome = 'lower') AS lower_hits,
        hit_rate(rows.outcome) AS hit_rate
    FROM trust_ratios AS rows
    WHERE rows.run = run AND rows.step BETWEEN first_step AND last_step
    GROUP BY ALL
)
SELECT cells.*, layers.position
FROM cells
LEFT JOIN layers ON layers.run = run AND layers.layer = cells.layer;
