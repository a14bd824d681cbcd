-- log.rows_of where two roots have a run of one name: rows go by the name that their run has here.
-- A merge may have moved a file to the folder that is called replaced_ and its own.
--   SELECT DISTINCT run FROM log.rows_of('metrics', NULL);
CREATE MACRO log.rows_of(kind, runs) AS TABLE
SELECT rows.* EXCLUDE (filename) REPLACE (names.run AS run)
FROM log.read(kind, log.files_of(kind, runs), true) AS rows
JOIN (
    SELECT unnest(from_json(getvariable(kind || '_runs'), '[{"filename": "VARCHAR", "run": "VARCHAR"}]'), max_depth := 2)
) AS names ON regexp_replace(rows.filename, '/replaced_([^/]+/[^/]+)$', '/\1') = names.filename;
