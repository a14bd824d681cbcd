-- log.rows where two roots have a run of one name: rows go by the name that their run has here.
-- A merge may have moved a file to the folder that is called replaced_ and its own.
--   SELECT DISTINCT run FROM log.rows('metrics');
CREATE MACRO log.rows(kind) AS TABLE
SELECT rows.* EXCLUDE (filename) REPLACE (runs.run AS run)
FROM read_parquet(getvariable(kind || '_files'), hive_partitioning = false, filename = true) AS rows
JOIN (
    SELECT unnest(from_json(getvariable(kind || '_runs'), '[{"filename": "VARCHAR", "run": "VARCHAR"}]'), max_depth := 2)
) AS runs ON regexp_replace(rows.filename, '/replaced_([^/]+/[^/]+)$', '/\1') = runs.filename;
