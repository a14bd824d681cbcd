-- A row is a cell of one layer of a run: how far its ratio, before and after clipping, and its norms went over `width`
-- steps, the first of them `step`; the mean and the geometric mean of the ratio; its bounds in the last of these steps.
-- At most `columns` rows, of whole cells as in heatmap, as wide as there.
--   SELECT step, trust_ratio_min, trust_ratio_max, upper FROM ratio_envelope('demo-clip1', 'fc.weight', 1, 1000, 8) ORDER BY step;
CREATE MACRO ratio_envelope(run, layer, first_step, last_step, columns, least_width := 1) AS TABLE
SELECT
    log.shown_width(run, first_step, last_step, columns, least_width) AS width,
    cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
    max(cells.epoch) AS epoch,
    sum(cells.rows)::BIGINT AS rows,
    max(cells.last_step) AS last_step,
    min(cells.trust_ratio_min) AS trust_ratio_min,
    max(cells.trust_ratio_max) AS trust_ratio_max,
    sum(cells.trust_ratio_mean * cells.rows) / sum(cells.rows) AS trust_ratio_mean,
    exp(sum(cells.trust_ratio_log_mean * cells.rows) / sum(cells.rows)) AS trust_ratio_geometric_mean,
    min(cells.clipped_ratio_min) AS clipped_ratio_min,
    max(cells.clipped_ratio_max) AS clipped_ratio_max,
    exp(sum(cells.clipped_ratio_log_mean * cells.rows) / sum(cells.rows)) AS clipped_ratio_geometric_mean,
    min(cells.weight_norm_min) AS weight_norm_min,
    max(cells.weight_norm_max) AS weight_norm_max,
    min(cells.update_norm_min) AS update_norm_min,
    max(cells.update_norm_max) AS update_norm_max,
    max(cells.relative_step_max) AS relative_step_max,
    min(cells.grad_norm_min) AS grad_norm_min,
    max(cells.grad_norm_max) AS grad_norm_max,
    arg_max(cells.lower, cells.last_step) AS lower,
    arg_max(cells.upper, cells.last_step) AS upper,
    sum(cells.upper_hits)::BIGINT AS upper_hits,
    sum(cells.lower_hits)::BIGINT AS lower_hits,
    hit_share(cells.upper_hits, cells.lower_hits, cells.adapted) AS hit_rate
FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
WHERE cells.layer = layer
GROUP BY ALL;
