-- A row is `width` steps of a run, the first of them `step`: in which share of the layers' steps the ratio was clipped at
-- its upper and its lower bound. At most `columns` rows, of whole cells as in heatmap, as wide as there.
--   SELECT step, upper_rate FROM hit_rate_over_time('demo-clip1', 1, 1000, 8) ORDER BY step;
CREATE MACRO hit_rate_over_time(run, first_step, last_step, columns, least_width := 1) AS TABLE
SELECT
    log.shown_width(run, first_step, last_step, columns, least_width) AS width,
    cell_start(cells.step, log.shown_width(run, first_step, last_step, columns, least_width)) AS step,
    sum(cells.rows)::BIGINT AS rows,
    max(cells.last_step) AS last_step,
    sum(cells.adapted)::BIGINT AS adapted,
    sum(cells.upper_hits)::BIGINT AS upper_hits,
    sum(cells.lower_hits)::BIGINT AS lower_hits,
    sum(cells.upper_hits) / nullif(sum(cells.adapted), 0) AS upper_rate,
    sum(cells.lower_hits) / nullif(sum(cells.adapted), 0) AS lower_rate
FROM log.cells_shown(run, first_step, last_step, columns, least_width) AS cells
GROUP BY ALL;
