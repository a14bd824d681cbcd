-- A row is a value of one metric. Of every `columns`-th part of the steps it keeps the first and last value and the
-- smallest and the largest, so that a line through the rows hides no spike. `rows` is how many there were.
--   SELECT step, value FROM metric_curve('demo', 'train/loss', 1, 1000, 2) ORDER BY step;
CREATE MACRO metric_curve(run, name, first_step, last_step, columns) AS TABLE
SELECT rows.step, rows.epoch, rows.value, count(*) OVER () AS rows
FROM log.run_rows('metrics', run) AS rows
WHERE rows.name = name AND rows.step BETWEEN first_step AND last_step
WINDOW cell AS (PARTITION BY (rows.step - first_step) // cell_width(first_step, last_step, columns))
QUALIFY
    row_number() OVER (cell ORDER BY rows.step, rows.time) = 1
    OR row_number() OVER (cell ORDER BY rows.step DESC, rows.time DESC) = 1
    OR row_number() OVER (cell ORDER BY rows.value, rows.step) = 1
    OR row_number() OVER (cell ORDER BY rows.value DESC, rows.step) = 1;
