-- log.rows of one run, of which alone files are opened. The run must be a constant or a parameter.
--   SELECT max(step) FROM log.run_rows('metrics', 'demo');
CREATE MACRO log.run_rows(kind, run) AS TABLE
SELECT rows.* REPLACE (run AS run)
FROM read_parquet(
    coalesce(getvariable(kind || '_by_run')[run], [getvariable(kind || '_none')]),
    schema = getvariable(kind || '_columns'),
    hive_partitioning = false
) AS rows;
