-- A row is a value that was logged, under the name that its run has here: two roots have a run of one name.
-- A merge may have moved a file to the folder that is called replaced_ and its own.
--   SELECT DISTINCT run FROM log.metrics;
CREATE VIEW log.metrics AS
SELECT rows.* EXCLUDE (filename) REPLACE (runs.run AS run)
FROM read_parquet(getvariable('metrics_files'), hive_partitioning = false, filename = true) AS rows
JOIN (
    SELECT unnest(from_json(getvariable('metrics_runs'), '[{"filename": "VARCHAR", "run": "VARCHAR"}]'), max_depth := 2)
) AS runs ON replace(rows.filename, '/replaced_metrics/step-', '/metrics/step-') = runs.filename;
