-- A row is a cell: a layer of a run over `width` steps, the first of them `step`. Ratios are the ones furthest from 1
-- in these steps; norms and relative steps are the largest, so a one-step spike shows at every width. To compare runs,
-- use the geometric means: the furthest ratios of two runs may lie on opposite sides of 1. hit_rate is as in clip_hits.
-- At most `columns` cells a layer, of whole cells from that of the first step to that of the last, none narrower than
-- the run's stride (run_stride) or than `least_width`, if that is given; last_step is the last that was recorded in it.
-- position is NULL where run.json has no such layer.
--   SELECT layer, step, trust_ratio FROM heatmap('demo', 1, 1000, 4) ORDER BY "position", step;
CREATE MACRO heatmap(run, first_step, last_step, columns, least_width := 1) AS TABLE
WITH cells AS (
    SELECT
        layer,
        log.shown_width(run, first_step, last_step, columns, least_width) AS width,
        cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
        sum(rows)::BIGINT AS rows,
        max(cells.last_step) AS last_step,
        furthest_from_1(min(trust_ratio_min), max(trust_ratio_max)) AS trust_ratio,
        furthest_from_1(min(clipped_ratio_min), max(clipped_ratio_max)) AS clipped_ratio,
        exp(sum(trust_ratio_log_mean * rows) / sum(rows)) AS trust_ratio_geometric_mean,
        exp(sum(clipped_ratio_log_mean * rows) / sum(rows)) AS clipped_ratio_geometric_mean,
        max(weight_norm_max) AS weight_norm,
        max(update_norm_max) AS update_norm,
        max(relative_step_max) AS relative_step,
        max(grad_norm_max) AS grad_norm,
        sum(upper_hits)::BIGINT AS upper_hits,
        sum(lower_hits)::BIGINT AS lower_hits,
        sum(not_finite)::BIGINT AS not_finite,
        hit_share(upper_hits, lower_hits, adapted) AS hit_rate
    FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
    GROUP BY ALL
)
SELECT cells.*, layers.position
FROM cells
LEFT JOIN layers ON layers.run = run AND layers.layer = cells.layer;
