-- log.rows of one run, of which alone files are opened. The run must be a constant or a parameter.
--   SELECT max(step) FROM log.run_rows('metrics', 'demo');
CREATE MACRO log.run_rows(kind, run) AS TABLE
SELECT rows.* REPLACE (run AS run)
FROM log.read(kind, coalesce(getvariable(kind || '_by_run')[run], [getvariable(kind || '_none')]), false) AS rows;
