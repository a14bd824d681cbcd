-- A run between two steps, both included, in cells of at least `finest` steps that lie between them; the steps at either
-- end that do not fill a cell come as rows, of which none is read if the two take in the whole run.
--   SELECT layer, sum(upper_hits) FROM log.cells_between('demo', 100, 90_000, 64) GROUP BY layer;
CREATE MACRO log.cells_between(run, first_step, last_step, finest) AS TABLE
FROM log.cells(run, log.inner_width(run, first_step, last_step, finest)) AS cells
WHERE
    cells.step >= log.inner_start(first_step, log.inner_width(run, first_step, last_step, finest))
    AND cells.step < log.inner_end(run, last_step, log.inner_width(run, first_step, last_step, finest))
UNION ALL BY NAME
FROM log.row_cells('trust_ratios', run) AS cells
WHERE
    log.inner_width(run, first_step, last_step, finest) < getvariable('coarsest_width')
    AND cells.step BETWEEN first_step AND last_step
    AND (
        cells.step < log.inner_start(first_step, log.inner_width(run, first_step, last_step, finest))
        OR cells.step >= log.inner_end(run, last_step, log.inner_width(run, first_step, last_step, finest))
    );
