-- A row is a step in which a norm of a layer was NaN or infinite.
--   SELECT layer, step, weight_norm, update_norm FROM not_finite('demo', 1, 1000) ORDER BY step LIMIT 10;
CREATE MACRO not_finite(run, first_step, last_step) AS TABLE
FROM (
    SELECT rows.layer, rows.step, rows.epoch, rows.weight_norm, rows.update_norm, rows.trust_ratio, rows.clipped_ratio
    FROM log.run_rows('trust_ratios', run) AS rows
    SEMI JOIN (
        -- Steps by name, for DuckDB then passes over the files and row groups that have none of these; distinct, so that it
        -- takes them for the few, and not the rows where it knows no count of them (log_read_older.sql).
        SELECT DISTINCT layer, unnest(range(step, step + getvariable('finest_width'))) AS step
        FROM log.cells(run, getvariable('finest_width'))
        WHERE not_finite > 0 AND step >= cell_start(first_step, getvariable('finest_width')) AND step <= last_step
    ) AS cells ON rows.layer = cells.layer AND rows.step = cells.step
    WHERE rows.step BETWEEN first_step AND last_step
    LIMIT 1::BIGINT << 62 -- so that the filter stays outside; between scan and join it would hide the steps from the scan
)
WHERE NOT (isfinite(weight_norm) AND isfinite(update_norm));
