-- A row is a value of one metric. Of every `columns`-th part of the steps it keeps the first and last value and the
-- smallest and the largest, so that a line through the rows hides no spike. `rows` is how many there were; seconds is for
-- how long the run had trained by then, pauses before a resume left out.
--   SELECT step, value FROM metric_curve('demo', 'train/loss', 1, 1000, 2) ORDER BY step;
CREATE MACRO metric_curve(run, name, first_step, last_step, columns) AS TABLE
WITH rows AS (
    SELECT
        rows.step,
        rows.epoch,
        rows.time,
        rows.value,
        rows.attempt,
        (rows.step - first_step) // cell_width(first_step, last_step, columns) AS cell
    FROM log.attempt_rows(run) AS rows
    WHERE rows.name = name AND rows.step BETWEEN first_step AND last_step
),
-- Not by windows: over 333,333 values these take ten times as long.
cells AS (
    SELECT
        cell,
        count(*) AS rows,
        [
            min(step), max(step), arg_min(step, value), arg_max(step, value),
            arg_max(step, value) FILTER (isfinite(value)) -- NaN is larger than any number
        ] AS kept
    FROM rows
    GROUP BY cell
)
SELECT
    rows.step,
    rows.epoch,
    rows.value,
    clock.seconds_before + epoch(rows.time - clock.began) AS seconds,
    (SELECT sum(cells.rows)::BIGINT FROM cells) AS rows
FROM rows
JOIN cells ON rows.cell = cells.cell AND list_contains(cells.kept, rows.step)
JOIN log.clock(run) AS clock USING (attempt);
