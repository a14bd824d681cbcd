-- A row is `width` steps of a run, the first of them `step`: in which share of the layers' steps the ratio was clipped at
-- its upper and its lower bound. At most `columns` rows.
--   SELECT step, upper_rate FROM hit_rate_over_time('demo', 1, 1000, 200) ORDER BY step;
CREATE MACRO hit_rate_over_time(run, first_step, last_step, columns) AS TABLE
SELECT
    cell_width(first_step, last_step, columns) AS width,
    first_step + (rows.step - first_step) // cell_width(first_step, last_step, columns) * width AS step,
    count(*) AS rows,
    count(*) FILTER (rows.outcome IN ('free', 'upper', 'lower')) AS adapted,
    count(*) FILTER (rows.outcome = 'upper') AS upper_hits,
    count(*) FILTER (rows.outcome = 'lower') AS lower_hits,
    upper_hits / nullif(adapted, 0) AS upper_rate,
    lower_hits / nullif(adapted, 0) AS lower_rate
FROM trust_ratios AS rows
WHERE rows.run = run AND rows.step BETWEEN first_step AND last_step
GROUP BY (rows.step - first_step) // cell_width(first_step, last_step, columns);
