-- log.rows of some runs, of which alone files are opened, or of all where `runs` is NULL.
--   SELECT max(step) FROM log.rows_of('metrics', ['demo']);
CREATE MACRO log.rows_of(kind, runs) AS TABLE
FROM log.read(kind, log.files_of(kind, runs), false);
