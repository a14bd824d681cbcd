-- A row is a cell of a heatmap in which a row stands for one or several layers: `row_of` maps the layers to show to the numbers
-- of their rows. Of ratios and norms it has the lowest and the highest over these layers and `width` steps, so that neither a
-- spike nor a fall of one of them is lost; relative_step is the largest. Where `usual_of` maps layers to ratios (usual_ratios), the
-- ratio before clipping is divided by that of its layer. Cells are as in heatmap; `rows` counts steps of layers, and not_finite
-- those with a norm that is NaN or infinite.
--   SELECT row, step, trust_ratio_low, trust_ratio_high
--   FROM heatmap_rows('demo', 1, 1000, 2, MAP {'conv.weight': 0, 'fc.weight': 0, 'bn.weight': 1}) ORDER BY row, step;
CREATE MACRO heatmap_rows(
    run, first_step, last_step, columns, row_of, usual_of := MAP {}::MAP(VARCHAR, DOUBLE), least_width := 1
) AS TABLE
WITH shown AS MATERIALIZED (
    SELECT layer, row, coalesce(usual, 1) AS usual
    FROM (SELECT unnest(map_keys(row_of)) AS layer, unnest(map_values(row_of)) AS row)
    LEFT JOIN (SELECT unnest(map_keys(usual_of)) AS layer, unnest(map_values(usual_of)) AS usual) USING (layer)
)
SELECT
    shown.row,
    log.shown_width(run, first_step, last_step, columns, least_width) AS width,
    cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
    sum(cells.rows)::BIGINT AS rows,
    max(cells.last_step) AS last_step,
    min(cells.trust_ratio_min / shown.usual) AS trust_ratio_low,
    max(cells.trust_ratio_max / shown.usual) AS trust_ratio_high,
    min(cells.clipped_ratio_min) AS clipped_ratio_low,
    max(cells.clipped_ratio_max) AS clipped_ratio_high,
    min(cells.weight_norm_min) AS weight_norm_low,
    max(cells.weight_norm_max) AS weight_norm_high,
    min(cells.update_norm_min) AS update_norm_low,
    max(cells.update_norm_max) AS update_norm_high,
    max(cells.relative_step_max) AS relative_step,
    min(cells.grad_norm_min) AS grad_norm_low,
    max(cells.grad_norm_max) AS grad_norm_high,
    sum(cells.not_finite)::BIGINT AS not_finite
FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
JOIN shown ON shown.layer = cells.layer
GROUP BY ALL;
