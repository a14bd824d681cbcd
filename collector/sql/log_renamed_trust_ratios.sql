-- A row is a layer in a step, under the name that its run has here: two roots have a run of one name.
-- A merge may have moved a file to the folder that is called replaced_ and its own.
--   SELECT DISTINCT run FROM log.trust_ratios;
CREATE VIEW log.trust_ratios AS
SELECT rows.* EXCLUDE (filename) REPLACE (runs.run AS run)
FROM read_parquet(getvariable('trust_ratios_files'), hive_partitioning = false, filename = true) AS rows
JOIN (
    SELECT unnest(from_json(getvariable('trust_ratios_runs'), '[{"filename": "VARCHAR", "run": "VARCHAR"}]'), max_depth := 2)
) AS runs ON replace(rows.filename, '/replaced_trust_ratios/step-', '/trust_ratios/step-') = runs.filename;
