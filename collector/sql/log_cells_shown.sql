-- A run in whole cells, from that of the first step to that of the last, of which at most `columns` stand side by side.
--   SELECT count(DISTINCT cell_start(step, cell_width(1, 1000, 9))) FROM log.cells_shown('demo', 1, 1000, 9, 1);
CREATE MACRO log.cells_shown(run, first_step, last_step, columns, least_width) AS TABLE
FROM log.cells(run, log.shown_width(run, first_step, last_step, columns, least_width)) AS cells
WHERE
    first_step <= last_step
    AND cells.step >= cell_start(first_step, log.shown_width(run, first_step, last_step, columns, least_width))
    AND cells.step
        < cell_start(last_step, log.shown_width(run, first_step, last_step, columns, least_width))
        + log.shown_width(run, first_step, last_step, columns, least_width);
