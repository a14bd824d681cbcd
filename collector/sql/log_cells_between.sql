-- A run between two steps, both included, in the coarsest cells of which a thousand would do; the steps at either end that
-- do not fill a cell come as rows.
--   SELECT layer, sum(upper_hits) FROM log.cells_between('demo', 100, 90_000) GROUP BY layer;
CREATE MACRO log.cells_between(run, first_step, last_step) AS TABLE
FROM log.cells(run, cell_width(first_step, last_step, 1000)) AS cells
WHERE
    cells.step >= log.inner_start(first_step, cell_width(first_step, last_step, 1000))
    AND cells.step < log.inner_end(run, last_step, cell_width(first_step, last_step, 1000))
UNION ALL BY NAME
FROM log.row_cells('trust_ratios', run) AS cells
WHERE cells.step BETWEEN first_step AND log.inner_start(first_step, cell_width(first_step, last_step, 1000)) - 1
UNION ALL BY NAME
FROM log.row_cells('trust_ratios', run) AS cells
WHERE
    cells.step BETWEEN greatest(
        log.inner_end(run, last_step, cell_width(first_step, last_step, 1000)),
        log.inner_start(first_step, cell_width(first_step, last_step, 1000))
    ) AND last_step;
