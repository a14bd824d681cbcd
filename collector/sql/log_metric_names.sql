-- metric_names of some runs, of which alone files are opened, or of all where `runs` is NULL.
--   FROM log.metric_names(['demo']);
CREATE MACRO log.metric_names(runs) AS TABLE
SELECT
    named.run,
    named.name,
    roles.* EXCLUDE (name),
    named."values",
    named.first_step,
    named.last_step,
    named.last_value,
    -- What was flushed later than the rows may lie a little behind them.
    named.last_step > 1.05 * getvariable('steps_by_run')[named.run] + run_stride(named.run) AS own_steps
FROM (
    SELECT
        run,
        name,
        count(*) AS "values",
        min(step) AS first_step,
        max(step) AS last_step,
        last(value ORDER BY step, time) AS last_value
    FROM log.rows_of('metrics', runs)
    GROUP BY run, name
) AS named
JOIN metric_roles((SELECT list(DISTINCT name) FROM log.rows_of('metrics', runs))) AS roles ON roles.name = named.name;
