-- A row is `width` steps of one metric, the first of them `step`: the mean of its finite values there, their mean step,
-- and for how many seconds the run had trained by then, as in metric_curve. At most `columns` rows, of whole cells as in
-- heatmap: runs that are asked for the same steps have the same cells, so these can be averaged from run to run.
--   SELECT step, value, rows FROM metric_cells('demo', 'train/loss', 1, 1000, 4) ORDER BY step;
CREATE MACRO metric_cells(run, name, first_step, last_step, columns) AS TABLE
SELECT
    cell_width(first_step, last_step, columns) AS width,
    cell_start(rows.step, cell_width(first_step, last_step, columns)) AS step,
    avg(rows.step) AS middle,
    avg(clock.seconds_before + epoch(rows.time - clock.began)) AS seconds,
    avg(rows.value) FILTER (isfinite(rows.value)) AS value,
    count(*) AS rows
FROM log.attempt_rows(run) AS rows
JOIN log.clock(run) AS clock USING (attempt)
WHERE rows.name = name AND rows.step BETWEEN first_step AND last_step
GROUP BY ALL;
