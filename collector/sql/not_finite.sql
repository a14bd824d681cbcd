-- A row is a step in which a norm of a layer was NaN or infinite.
--   SELECT layer, step, weight_norm, update_norm FROM not_finite('demo', 1, 1000) ORDER BY step LIMIT 10;
CREATE MACRO not_finite(run, first_step, last_step) AS TABLE
SELECT rows.layer, rows.step, rows.epoch, rows.weight_norm, rows.update_norm, rows.trust_ratio, rows.clipped_ratio
FROM log.run_rows('trust_ratios', run) AS rows
SEMI JOIN (
    SELECT layer, cell_start(step, getvariable('coarsest_width')) AS start
    FROM log.cells_between(run, first_step, last_step, getvariable('finest_width'))
    GROUP BY ALL
    HAVING sum(not_finite) > 0
) AS cells ON rows.layer = cells.layer AND cell_start(rows.step, getvariable('coarsest_width')) = cells.start
WHERE
    rows.step BETWEEN first_step AND last_step
    AND NOT (isfinite(rows.weight_norm) AND isfinite(rows.update_norm));
