-- A row is a step of one layer. Of every `columns`-th part of the steps it keeps the first and last step and those with
-- the smallest and the largest ratio, so that a line through the rows hides no spike. `rows` is how many there were.
--   SELECT step, trust_ratio, clipped_ratio, upper FROM ratio_curve('demo-clip1', 'fc.weight', 1, 1000, 2) ORDER BY step;
CREATE MACRO ratio_curve(run, layer, first_step, last_step, columns) AS TABLE
SELECT
    rows.step, rows.epoch, rows.trust_ratio, rows.clipped_ratio, rows.lower, rows.upper,
    outcome(rows.weight_norm, rows.update_norm, rows.trust_ratio, rows.lower, rows.upper) AS outcome,
    rows.weight_norm, rows.update_norm, rows.grad_norm,
    relative_step(rows.lr, rows.clipped_ratio, rows.update_norm, rows.weight_norm) AS relative_step,
    count(*) OVER () AS rows
FROM log.run_rows('trust_ratios', run) AS rows
WHERE rows.layer = layer AND rows.step BETWEEN first_step AND last_step
WINDOW cell AS (PARTITION BY (rows.step - first_step) // cell_width(first_step, last_step, columns))
QUALIFY
    row_number() OVER (cell ORDER BY rows.step) = 1
    OR row_number() OVER (cell ORDER BY rows.step DESC) = 1
    OR row_number() OVER (cell ORDER BY rows.trust_ratio, rows.step) = 1
    OR row_number() OVER (cell ORDER BY rows.trust_ratio DESC, rows.step) = 1;
